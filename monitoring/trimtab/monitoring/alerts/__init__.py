"""Alert rules and Alertmanager's configuration as code; what is rendered is committed in `monitoring/rules/`."""
