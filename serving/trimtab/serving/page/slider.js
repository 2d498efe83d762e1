"use strict";
// The slider: what another threshold would cost a day, in counts, from rows that the predicting fit did not see.

import { $, count, make, short } from "./common.js";

const PER_DAY = 1000;

// Each kind of curve: how it is asked for, its two lines, and a day in words; `scale` makes counts of rows counts a day.
const KINDS = {
  threshold: {
    lines: (curve) => [curve.missed, curve.alarms],
    label: (at, target) => "Call it “" + target.classes[1] + "” from a probability of " + percent(at),
    keys: (target) => ["missed “" + target.classes[1] + "”", "“" + target.classes[0] + "” taken for it"],
    day: (curve, i, scale, target) => {
      const [missed, alarms] = [curve.missed[i] * scale, curve.alarms[i] * scale], all = curve.positives * scale;
      return count(missed) + " of " + count(all) + " “" + target.classes[1] + "” a day are missed, " + count(alarms) + " of "
        + count(curve.rows * scale - all) + " “" + target.classes[0] + "” are taken for it: " + count(missed + alarms) + " mistakes a day.";
    },
    hint: (served) => "The server calls it from " + percent(served) + "; the slider changes nothing there.",
  },
  confidence: {
    lines: (curve) => [curve.wrong, curve.left],
    label: (at) => "Leave answers below a confidence of " + percent(at) + " to a person",
    keys: () => ["wrong answers", "left to a person"],
    day: (curve, i, scale) => {
      const left = curve.left[i] * scale, given = curve.rows * scale - left;
      return count(curve.wrong[i] * scale) + " of " + count(given) + " answers a day are wrong, " + count(left) + " are left to a person.";
    },
    hint: () => "The server answers every row; the slider shows what asking a person for the rest would change.",
  },
  tolerance: {
    lines: (curve) => [curve.over, curve.under],
    label: (at, target) => "An answer may be off by " + short(at) + (target.unit ? " " + target.unit : ""),
    keys: () => ["too high", "too low"],
    day: (curve, i, scale) => {
      const [over, under] = [curve.over[i] * scale, curve.under[i] * scale];
      return count(over + under) + " of " + count(curve.rows * scale) + " answers a day are further off: " + count(over) + " too high, " + count(under) + " too low.";
    },
    hint: () => "How far off an answer may be is yours to say; the slider changes nothing at the server.",
  },
};

function percent(share) { return Math.round(100 * share) + " %"; }

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function draw(lines, i, served) {
  const most = Math.max(1, ...lines.flat()), last = lines[0].length - 1;
  const x = (at) => (300 * at / last).toFixed(1), y = (n) => (118 - 114 * n / most).toFixed(1);
  const nodes = lines.map((line, n) => svg("polyline", { class: n ? "second" : "", points: line.map((v, at) => x(at) + "," + y(v)).join(" ") }));
  if (served !== null) nodes.push(svg("line", { class: "served", x1: x(served), x2: x(served), y1: 0, y2: 120 }));
  $("chart").replaceChildren(...nodes, svg("line", { x1: x(i), x2: x(i), y1: 0, y2: 120 }));
}

// Shows the slider; `onMove(at)` is told where it stands while it decides between two classes.
export function prepareSlider({ card, schema }, onMove) {
  const curve = card.curve, kind = KINDS[curve?.kind], target = schema.target;
  if (!kind || !curve.rows) return;
  const last = curve.at.length - 1, served = curve.kind === "threshold" ? card.threshold ?? 0.5 : null;
  const place = served === null ? null : Math.round(served * last);
  const [first, second] = kind.keys(target);
  $("chart-words").replaceChildren(make("span", { className: "first-key", textContent: "— " + first }), " · ", make("span", { className: "second-key", textContent: "– – " + second }));
  $("at-hint").textContent = kind.hint(served) + " Counted on " + count(curve.rows) + " rows that the model had not learned from.";
  $("per-day").value = Math.round(card.rows_per_day) || PER_DAY;
  $("at").max = last;
  $("at").value = place ?? (curve.kind === "tolerance" ? Math.round(last / 4) : 0);
  const move = () => {
    const i = Number($("at").value), perDay = Math.max(1, Number($("per-day").value) || PER_DAY);
    $("at-label").textContent = kind.label(curve.at[i], target);
    const words = kind.day(curve, i, perDay / curve.rows, target);
    $("costs").textContent = words;
    $("at").setAttribute("aria-valuetext", $("at-label").textContent + ": " + words);
    draw(kind.lines(curve), i, place);
    if (curve.kind !== "tolerance") onMove(curve.kind, curve.at[i]);
  };
  $("at").oninput = $("per-day").oninput = move;
  $("slider").hidden = false;
  move();
}
