"""The two accuracies over time, with the campaigns marked, as a PNG."""

from __future__ import annotations

from pathlib import Path

from trimtab.demo.facts import Facts


def draw(facts: Facts, path: Path) -> None:
    """Draw the picture.

    Args:
        facts: of a demo with at least one window.
        path: the PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    numbers = [w.window for w in facts.windows]
    figure, axes = plt.subplots(figsize=(10, 4.5), dpi=120)
    axes.plot(numbers, [100 * w.static_accuracy for w in facts.windows], color="#9a9a9a", marker="o", markersize=3,
              label=f"first version alone: {100 * facts.static_accuracy:.1f} %")  # fmt: skip
    axes.plot(numbers, [100 * w.served_accuracy for w in facts.windows], color="#0b6e4f", marker="o", markersize=4,
              linewidth=2, label=f"served: {100 * facts.served_accuracy:.1f} %")  # fmt: skip
    axes.set_ylim(min(55.0, *(100 * w.static_accuracy - 3 for w in facts.windows)), 103)
    marked = False
    for w in facts.windows:
        if w.campaign is not None:
            axes.axvline(w.window + 0.5, color="#c8553d", linestyle="--", linewidth=1.2,
                         label=None if marked else "alarm: a retrain campaign opens")  # fmt: skip
            axes.annotate(f"campaign {w.campaign}", (w.window + 0.5, axes.get_ylim()[0]), xytext=(3, 4),
                          textcoords="offset points", fontsize=8, color="#c8553d")  # fmt: skip
            marked = True
    named = {facts.windows[0].version}
    for after in facts.windows:
        # During a canary two versions take turns at answering most of a window: each is named once.
        if after.version not in named:
            named.add(after.version)
            axes.annotate(after.version.split("-")[0], (after.window, 100 * after.served_accuracy), xytext=(0, 8),
                          textcoords="offset points", fontsize=8, color="#0b6e4f", ha="center")  # fmt: skip
    axes.set_xlabel(f"window ({facts.windows[0].rows} requests each)")
    axes.set_ylabel("right answers, %")
    axes.set_title(f"{facts.model}: {facts.served_accuracy:.1%} right with {facts.retrains} retrains, "
                   f"{facts.fewer_errors:.0%} fewer errors")  # fmt: skip
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="lower right", framealpha=1.0, edgecolor="white", fontsize=9, bbox_to_anchor=(1.0, 0.05))
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
