"use strict";
// The model's card: what it is for, how good it is, where it comes from, and where to read more.

import { $, make, short } from "./common.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

function figure([name, found]) {
  const value = typeof found === "object" && found !== null ? found.value : found;
  if (typeof value !== "number") return null;
  const range = typeof found === "object" && "low" in found ? " (" + Number(found.low.toPrecision(3)) + " to " + Number(found.high.toPrecision(3)) + ")" : "";
  return make("tr", {}, make("th", { textContent: name.replaceAll("_", " "), scope: "row" }), make("td", { className: "value", textContent: Number(value.toPrecision(3)) + range }));
}

// The hook's own pages, unless its address is this machine's and the page was opened from another.
function hookLinks(hook, model) {
  try {
    const base = new URL(hook);
    if (LOOPBACK.includes(base.hostname) && !LOOPBACK.includes(location.hostname)) return [];
    return [["Drift: every window and its verdict", new URL("/windows/" + model + "/", base)], ["Campaigns: what was retrained, and why", new URL("/campaigns/" + model + "/", base)]];
  } catch { return []; }
}

export function showCard({ card, hook, model, schema }) {
  $("headline").textContent = card.headline ?? "";
  $("statement").textContent = [card.statement, card.measured, card.against].filter(Boolean).join(" ");
  const figures = Object.entries(card.metrics).map(figure).filter(Boolean);
  $("figures").hidden = !figures.length;
  $("figures").tBodies[0].replaceChildren(...figures);
  const origin = [
    ["Version", card.version], ["Published", new Date(card.created_at).toLocaleString()], ["Predicts", schema.target.name + (schema.target.unit ? " in " + schema.target.unit : "")],
    ["Kind of model", card.candidate], ["Learned from", card.dataset.trim()], ["Version before", card.parent], ["Campaign", card.campaign],
    ["Threshold", card.threshold === null ? "" : short(card.threshold)],
  ].filter(([, value]) => value);
  $("origin").replaceChildren(...origin.flatMap(([term, value]) => [make("dt", { textContent: term }), make("dd", { textContent: value })]));
  $("limits").replaceChildren(...(card.limits ?? []).map((line) => make("li", { textContent: line })));
  const links = [...(card.report ? [["The whole evaluation report", card.report]] : []), ["How to call it: the API", "docs"], ...hookLinks(hook, model)];
  $("links").replaceChildren(...links.map(([textContent, href]) => make("li", {}, make("a", { textContent, href }))));
  $("card").hidden = false;
}
