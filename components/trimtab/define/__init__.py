"""Stage `define`: what the model is for and when it is good enough; the run's first task, which claims it."""
