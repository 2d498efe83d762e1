"use strict";
// Wires the page: what is served, the form, the answer, the card and the slider.

import { prepare, show } from "./answer.js";
import { showCard } from "./card.js";
import { $, ask } from "./common.js";
import { layOut, makeFields } from "./fields.js";
import { prepareSlider } from "./slider.js";

let facts = null, fields = new Map(), probabilities = [], stands = null, examples = [], turn = 0;

function complain(message) { $("problem").textContent = message; }

// What the last answer would be where the slider stands.
function otherwise() {
  const [kind, at] = stands ?? [], classes = facts.schema.target.classes;
  let words = "";
  if (probabilities.length && kind === "threshold" && $("at").value !== $("at").defaultValue) {
    words = "Where the slider stands it would be “" + classes[Number(probabilities[1] >= at)] + "”.";
  } else if (probabilities.length && kind === "confidence" && Math.max(...probabilities) < at) {
    words = "Where the slider stands it would be left to a person.";
  }
  $("otherwise").textContent = words;
}

async function predict(event) {
  event.preventDefault();
  complain("");
  const button = $("form").querySelector("button.main");
  button.disabled = true;
  try {
    const row = Object.fromEntries([...fields].map(([name, field]) => [name, field.read()]));
    const answer = await ask("v1/models/" + facts.model + ":predict", { instances: [row], parameters: { probabilities: true } });
    probabilities = show(answer);
    otherwise();
  } catch (error) {
    complain(error.message);
    const named = fields.get(error.field);
    if (named) { named.input.setAttribute("aria-invalid", "true"); named.input.focus(); }
  } finally { button.disabled = false; }
}

async function fill() {
  complain("");
  try {
    if (!examples.length) examples = (await ask("page/examples.json")).data;
    const row = examples[turn++ % examples.length];
    for (const [name, field] of fields) if (name in row) { field.write(row[name]); field.input.removeAttribute("aria-invalid"); }
  } catch (error) { complain(error.message); }
}

async function start() {
  try {
    facts = (await ask("page.json")).data;
  } catch (error) {
    $("about").className = "bad";
    $("about").textContent = error.message;
    return;
  }
  const [champion, canary] = facts.versions;
  document.title = $("title").textContent = "Try " + facts.model;
  $("about").textContent = "Predicts " + facts.schema.target.name + ". Serving: " + champion + (canary ? ", and " + canary + " for " + facts.canary_percent + " % of the requests" : "") + ".";
  fields = makeFields(facts.schema, complain);
  $("fields").replaceChildren(...layOut(facts.schema, fields));
  $("form").onsubmit = predict;
  $("example").hidden = !facts.card.examples;
  $("example").onclick = fill;
  prepare(facts);
  showCard(facts);
  prepareSlider(facts, (kind, at) => { stands = [kind, at]; otherwise(); });
  $("at").defaultValue = $("at").value;
}

start();
