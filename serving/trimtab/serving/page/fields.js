"use strict";
// The form made from the schema: one input a field, each with a reader and a writer.

import { describe, make } from "./common.js";
import { picture } from "./picture.js";

const FEATURES = ["number", "category", "image"], OTHER = "\u0000other";

function hint(field) {
  const parts = [field.description, field.unit];
  if (field.kind !== "image" && field.range) parts.push("usually " + field.range.map((v) => v ?? "…").join(" to "));
  if (field.private) parts.push("private: never logged as it is");
  if (field.nullable || !FEATURES.includes(field.kind)) parts.push("may stay empty");
  return parts.filter(Boolean).join(" · ");
}

function start(field) {
  if (field.example !== null && field.example !== undefined) return field.example;
  if (field.kind === "number" && field.range?.every((v) => v !== null)) return Number(((field.range[0] + field.range[1]) / 2).toPrecision(4));
  return field.kind === "category" && field.categories.length ? field.categories[0] : null;
}

function wrap(field, input, ...more) {
  const told = hint(field);
  input.id = "field-" + field.name;
  if (told) describe(input, input.id + "-hint");
  return make("div", { className: "field" }, make("label", { htmlFor: input.id, textContent: field.name }), input, ...more,
    ...(told ? [make("span", { className: "dim", id: input.id + "-hint", textContent: told })] : []));
}

function bad(input, message) {
  input.setAttribute("aria-invalid", "true");
  input.focus();
  throw new Error(message);
}

function number(field) {
  const input = make("input", { inputMode: "decimal", autocomplete: "off" });
  const read = () => {
    const text = input.value.trim();
    if (text === "" && field.nullable) return null;
    if (text === "") bad(input, field.name + " needs a number.");
    const value = Number(text.replace(",", "."));
    return Number.isFinite(value) ? value : bad(input, field.name + ": “" + text + "” is no number.");
  };
  return { node: wrap(field, input), read, write: (value) => { input.value = typeof value === "number" ? Number(value.toPrecision(7)) : ""; }, input };
}

// A few known categories are a list with a way out, as the model takes any; many, or none known, are a text with help.
function category(field) {
  const free = make("input", { autocomplete: "off" });
  const known = field.categories;
  if (!known.length || known.length > 20) {
    const list = make("datalist", { id: "field-" + field.name + "-list" }, ...known.map((value) => make("option", { value })));
    if (known.length) free.setAttribute("list", list.id);
    const read = () => free.value.trim() || (field.nullable ? null : bad(free, field.name + " needs a value."));
    return { node: wrap(field, free, ...(known.length ? [list] : [])), read, write: (value) => { free.value = value ?? ""; }, input: free };
  }
  const select = make("select", {}, ...(field.nullable ? [make("option", { value: "", textContent: "(missing)" })] : []),
    ...known.map((value) => make("option", { value, textContent: value })), make("option", { value: OTHER, textContent: "another value …" }));
  free.hidden = true;
  free.setAttribute("aria-label", field.name + ": another value");
  select.onchange = () => { free.hidden = select.value !== OTHER; if (!free.hidden) free.focus(); };
  const read = () => {
    if (select.value !== OTHER) return select.value || null;
    return free.value.trim() || bad(free, field.name + " needs a value.");
  };
  const write = (value) => {
    const text = value ?? (field.nullable ? "" : known[0]), there = text === "" || known.includes(text);
    select.value = there ? text : OTHER;
    free.hidden = there;
    free.value = there ? "" : text;
  };
  return { node: wrap(field, select, free), read, write, input: select };
}

function moment(field) {
  const input = make("input", { type: "datetime-local", step: "1" });
  const read = () => (input.value ? new Date(input.value).toISOString() : null);
  return { node: wrap(field, input), read, write: () => {}, input };
}

function text(field) {
  const input = make("input", { autocomplete: "off" });
  return { node: wrap(field, input), read: () => input.value.trim() || null, write: (value) => { input.value = value ?? ""; }, input };
}

// What the model looks at, and below it, folded away, what is only kept with the prediction.
export function layOut(schema, fields) {
  const node = (field) => fields.get(field.name)?.node;
  const rest = schema.fields.filter((field) => !FEATURES.includes(field.kind)).map(node).filter(Boolean);
  const features = schema.fields.filter((field) => FEATURES.includes(field.kind)).map(node);
  if (!rest.length) return features;
  return [...features, make("details", { className: "wide" }, make("summary", { textContent: "Kept with the prediction, not looked at by the model" }), ...rest)];
}

// The form's entries by field name. What is private and no feature has no use here: the log would not keep it.
export function makeFields(schema, complain) {
  const kinds = { number, category, time: moment, image: (field) => picture(field, hint(field), complain) };
  const shown = schema.fields.filter((field) => FEATURES.includes(field.kind) || !field.private);
  return new Map(shown.map((field) => {
    const entry = (kinds[field.kind] ?? text)(field);
    if (field.kind !== "image") { entry.write(start(field)); entry.input.addEventListener("input", () => entry.input.removeAttribute("aria-invalid")); }
    else if (Array.isArray(field.example)) entry.write(field.example);
    return [field.name, entry];
  }));
}
