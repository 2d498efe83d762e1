"""Rules about the model: drift, and what it costs."""

from __future__ import annotations

from trimtab.monitoring.alerts.rule import Alert, Group, Record, figure
from trimtab.monitoring.alerts.thresholds import Thresholds

# States in which a campaign answers the drift by itself; `paused` and `approval` wait for a person.
ANSWERING = "debounce|training|judging|releasing|following"
WINDOWS = "windows/{{ $labels.model }}/{{ $labels.version }}/"
ERRORS = figure("trimtab_watch_expected_errors_per_day", "model", "version")
ACCURACY = "trimtab_watch_performance"
# The one metric that is a share; the other is a mean absolute error.
SHARE = "accuracy"


def group(at: Thresholds) -> Group:
    """Inputs, expected and realised loss, calibration; and the nudge that the retrain hook gets."""
    return Group(
        "trimtab-drift",
        [
            Record("trimtab:verdict", "max by (model, version, layer) (trimtab_watch_verdict)"),
            Record("trimtab:campaign_answers", _answers()),
            Alert(
                name="TrimtabDrift",
                severity="warning",
                owner="model",
                expr='trimtab:verdict{layer="joined"} == 2',
                summary="{{ $labels.model }} {{ $labels.version }} has drifted",
                description=f"About {ERRORS} errors a day beyond what it was released with. The retrain hook is asked "
                "for a campaign.",
                dashboard="trimtab-drift",
                report=WINDOWS,
            ),
            Alert(
                name="TrimtabInputDrift",
                severity="warning",
                owner="model",
                expr='trimtab:verdict{layer="inputs"} >= 1',
                summary="The inputs of {{ $labels.model }} {{ $labels.version }} have moved",
                description="The rows that arrive differ from those it was trained on. By itself that is no harm: look "
                "at the expected and realised accuracy before you act.",
                dashboard="trimtab-drift",
                report=WINDOWS,
            ),
            *_loss("TrimtabExpectedLoss", "expected", "is expected to answer worse than when it was released", at),
            *_loss("TrimtabRealisedLoss", "realised", "answers worse than when it was released, its labels show", at),
            Alert(
                name="TrimtabCalibrationLost",
                severity="warning",
                owner="model",
                expr='trimtab:verdict{layer="calibration"} >= 1',
                summary="The probabilities of {{ $labels.model }} {{ $labels.version }} are no longer right",
                description="Confidence and share of right answers differ by "
                f"{figure('trimtab_watch_calibration_error_ratio', 'model', 'version', form='humanizePercentage')} "
                "beyond chance. Thresholds on probabilities, and the performance that is expected without labels, are "
                "off by as much.",
                dashboard="trimtab-drift",
                report=WINDOWS,
            ),
        ],
    )


def _answers() -> str:
    """1 while a campaign of the model answers its drift, or pauses after a single lost one before it tries again."""
    return (
        f'max by (model) (trimtab_campaign_state{{state=~"{ANSWERING}"}} == 1)'
        ' or max by (model) ((trimtab_campaign_state{state="cooling"} == 1) '
        "and on (model) (trimtab_campaigns_lost_in_a_row == 1))"
    )


def _loss(name: str, layer: str, what: str, at: Thresholds) -> list[Alert]:
    harm = f'trimtab:verdict{{layer="{layer}"}} == 2'
    common = f"{_performance(layer)} About {ERRORS} errors a day more."
    return [
        Alert(
            name=name,
            severity="warning",
            owner="model",
            expr=harm,
            summary=f"{{{{ $labels.model }}}} {{{{ $labels.version }}}} {what}",
            description=f"{common} A retrain campaign answers by itself; this pages when none does.",
            dashboard="trimtab-drift",
            report=WINDOWS,
        ),
        Alert(
            name=name,
            severity="page",
            owner="model",
            expr=f"({harm}) unless on (model) trimtab:campaign_answers",
            summary=f"{{{{ $labels.model }}}} {{{{ $labels.version }}}} {what}, and no campaign answers",
            description=f"{common} No campaign is open: paused, out of budget, lost, or the hook is away.",
            wait=at.unanswered_seconds,
            dashboard="trimtab-drift",
            report=WINDOWS,
        ),
    ]


def _performance(kind: str) -> str:
    """A sentence with the metric as it is now and as it was."""
    place = "{model='%s',version='%s',kind='%s'}"

    def value(of: str) -> str:
        # A share as people read it; a regression's error in the target's unit, without prefixes such as "m" for 1/1000.
        asked = f'{{{{ with printf "{ACCURACY}{place}" $labels.model $labels.version "{of}" | query }}}}'
        share = f'{{{{ if eq (. | first | label "metric") "{SHARE}" }}}}'
        percent = "{{ . | first | value | humanizePercentage }}"
        large = '{{ else if ge (. | first | value) 1000.0 }}{{ . | first | value | printf "%.0f" }}'
        error = '{{ else }}{{ . | first | value | printf "%.4g" }}{{ end }}'
        return asked + share + percent + large + error + "{{ else }}?{{ end }}"

    name = (
        f'{{{{ with printf "{ACCURACY}{place}" $labels.model $labels.version "reference" | query }}}}'
        '{{ . | first | label "metric" }}{{ else }}performance{{ end }}'
    )
    return f"Its {name} is {value(kind)}, it was {value('reference')}."
