"use strict";
// The answer: label or number, probabilities as bars, who answered and how fast; and the label sent back.

import { $, ask, make, short } from "./common.js";

const SHOWN = 12;
let model = "", target = null, last = null;

export function prepare(facts) {
  model = facts.model;
  target = facts.schema.target;
  const listed = target.classes.length && target.classes.length <= 200;
  const input = listed
    ? make("select", {}, make("option", { value: "", textContent: "choose …" }), ...target.classes.map((value) => make("option", { value, textContent: value })))
    : make("input", { autocomplete: "off", inputMode: target.kind === "number" ? "decimal" : "text" });
  input.id = "truth";
  $("truth-place").replaceChildren(input);
  $("wrong").onsubmit = send;
}

function bar([name, p]) {
  const fill = make("div");
  fill.style.width = (100 * p).toFixed(1) + "%";
  const cell = make("td", { className: "bar" }, fill);
  cell.setAttribute("aria-hidden", "true");
  return make("tr", {}, make("th", { textContent: name, scope: "row" }), cell, make("td", { className: "value", textContent: (100 * p).toFixed(1) + " %" }));
}

// Shows an answer of the server; returns its probabilities by class.
export function show({ data, headers, took }) {
  const value = data.predictions[0], probabilities = data.probabilities?.[0] ?? [];
  $("label").textContent = short(value) + (target.unit && typeof value === "number" ? " " + target.unit : "");
  const ranked = probabilities.map((p, i) => [target.classes[i], p]).sort((a, b) => b[1] - a[1]);
  $("bars").hidden = !ranked.length;
  $("bars").caption.textContent = ranked.length > SHOWN ? "Probabilities, the " + SHOWN + " highest of " + ranked.length : "Probabilities";
  $("bars").tBodies[0].replaceChildren(...ranked.slice(0, SHOWN).map(bar));
  last = headers.get("x-prediction-id");
  $("facts").textContent = "version " + headers.get("x-model-version") + " answered in " + took.toFixed(1) + " ms, there and back · prediction " + last;
  $("nothing").hidden = true;
  $("result").hidden = $("wrong").hidden = false;
  $("told").textContent = "";
  $("truth").value = "";
  $("label").scrollIntoView({ block: "nearest" });  // on a phone the answer is below the form
  return probabilities;
}

async function send(event) {
  event.preventDefault();
  const told = $("told"), value = $("truth").value.trim();
  told.className = "bad";
  if (!value) { told.textContent = "Say first what it is."; $("truth").focus(); return; }
  try {
    await ask("feedback", { model, labels: [{ id: last, value, source: "page" }] });
    told.className = "good";
    told.textContent = "Thank you: the label “" + value + "” is kept for this prediction.";
  } catch (error) { told.textContent = error.message; }
}
