"use strict";
// What the page's parts share: making elements, numbers as people read them, and asking the server.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

export function describe(node, ...ids) {
  node.setAttribute("aria-describedby", ids.join(" "));
  return node;
}

export function count(number) {
  if (number > 0 && number < 1) return "fewer than 1";
  return Math.round(number).toLocaleString("en");
}

export function short(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
}

let key = "";

// Asks the person for a key; resolves to whether one was given.
function askKey(why) {
  const dialog = $("ask-key");
  $("key-why").textContent = why;
  $("key").value = "";
  return new Promise((resolve) => {
    const end = (given) => {
      $("key-form").onsubmit = $("no-key").onclick = dialog.oncancel = null;
      key = given;
      if (dialog.open) dialog.close();
      resolve(given !== "");
    };
    $("key-form").onsubmit = (event) => { event.preventDefault(); if ($("key").value.trim()) end($("key").value.trim()); };
    $("no-key").onclick = () => end("");
    dialog.oncancel = (event) => { event.preventDefault(); end(""); };
    dialog.showModal();
    $("key").focus();
  });
}

// One request; a 401 or 403 asks for a key and tries again, until it is accepted or the person gives up.
export async function ask(path, body) {
  for (;;) {
    const headers = { ...(body === undefined ? {} : { "content-type": "application/json" }), ...(key ? { authorization: "Bearer " + key } : {}) };
    const started = performance.now();
    let answer;
    try {
      answer = await fetch(path, { method: body === undefined ? "GET" : "POST", body: body === undefined ? undefined : JSON.stringify(body), headers });
    } catch {
      throw new Error("The server cannot be reached. Is it still running?");
    }
    const took = performance.now() - started;
    const data = await answer.json().catch(() => ({ error: "The server's answer was no JSON." }));
    if (answer.ok) return { data, headers: answer.headers, took };
    const error = new Error(data.error || "The server answered " + answer.status);
    error.field = data.object;
    if (![401, 403].includes(answer.status) || !(await askKey(key ? data.error : ""))) throw error;
  }
}
