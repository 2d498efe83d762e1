"use strict";
// A field of kind image: drawn with pointer or keys, or taken from a file; read back as the numbers the model expects.

import { describe, make } from "./common.js";

export function picture(field, hint, complain) {
  const [height, width, channels = 1] = field.shape, id = "field-" + field.name;
  const [low, high] = [field.range?.[0] ?? 0, field.range?.[1] ?? 255];
  const pixels = new Float32Array(height * width * channels).fill(low);
  const canvas = make("canvas", { id, width, height, tabIndex: 0 });
  canvas.style.aspectRatio = width + " / " + height;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", field.name + ": draw with the pointer, or move with the arrow keys and paint with the space bar; Delete clears");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colour = channels >= 3 ? make("input", { type: "color", value: "#ffffff", id: id + "-colour" }) : null;
  const radius = Math.max(0.6, Math.min(width, height) / 22);
  let x = width >> 1, y = height >> 1, keyed = false, before = null;

  function show() {
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * (pixels[i * channels + (channels >= 3 ? c : 0)] - low) / (high - low);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    if (keyed) { context.fillStyle = "rgba(80, 160, 255, .8)"; context.fillRect(x, y, 1, 1); }
  }

  function blend(px, py, weight) {
    if (px < 0 || py < 0 || px >= width || py >= height || weight <= 0) return;
    weight = Math.min(1, weight);
    const ink = colour ? [1, 3, 5].map((at) => parseInt(colour.value.slice(at, at + 2), 16) / 255) : null;
    for (let c = 0; c < channels; c++) {
      const at = (py * width + px) * channels + c;
      if (ink && c < 3) pixels[at] += weight * (low + ink[c] * (high - low) - pixels[at]);
      else pixels[at] = Math.max(pixels[at], low + weight * (high - low));
    }
  }

  // A round dab around (cx, cy) in pixels; a pixel takes as much ink as about is covered of it.
  function dab(cx, cy) {
    for (let py = Math.floor(cy - radius - 1); py <= cy + radius + 1; py++) {
      for (let px = Math.floor(cx - radius - 1); px <= cx + radius + 1; px++) {
        blend(px, py, radius + 0.5 - Math.hypot(px + 0.5 - cx, py + 0.5 - cy));
      }
    }
  }

  function stroke(event) {
    const box = canvas.getBoundingClientRect();
    const to = [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
    const from = before ?? to, steps = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 0.5);
    if (!steps) dab(...to);
    for (let i = 1; i <= steps; i++) dab(from[0] + (to[0] - from[0]) * i / steps, from[1] + (to[1] - from[1]) * i / steps);
    before = to;
    show();
  }

  canvas.addEventListener("pointerdown", (event) => { keyed = false; before = null; canvas.setPointerCapture(event.pointerId); stroke(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move && ![" ", "Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    keyed = true;
    if (move) { x = Math.max(0, Math.min(width - 1, x + move[0])); y = Math.max(0, Math.min(height - 1, y + move[1])); show(); }
    else if (event.key === " ") { dab(x + 0.5, y + 0.5); show(); }
    else clear();
  });
  canvas.addEventListener("blur", () => { keyed = false; show(); });

  function clear() { pixels.fill(low); show(); }
  function invert() { for (let i = 0; i < pixels.length; i++) pixels[i] = low + high - pixels[i]; show(); }

  const upload = make("input", { type: "file", accept: "image/*", id: id + "-file" });
  upload.addEventListener("change", async () => {
    if (!upload.files.length) return;
    complain("");
    try {
      const bitmap = await createImageBitmap(upload.files[0]);
      const small = new OffscreenCanvas(width, height).getContext("2d");
      small.imageSmoothingQuality = "high";
      small.drawImage(bitmap, 0, 0, width, height);
      const data = small.getImageData(0, 0, width, height).data;
      for (let i = 0; i < width * height; i++) {
        const grey = .299 * data[4 * i] + .587 * data[4 * i + 1] + .114 * data[4 * i + 2];
        for (let c = 0; c < channels; c++) pixels[i * channels + c] = low + (high - low) * (channels < 3 ? grey : data[4 * i + Math.min(c, 3)]) / 255;
      }
      show();
    } catch { complain("That file is no image that this browser can read."); }
    upload.value = "";
  });
  describe(canvas, id + "-hint");
  show();

  const tools = make("div", { className: "row" },
    make("button", { type: "button", textContent: "Clear", onclick: clear }),
    make("button", { type: "button", textContent: "Invert", onclick: invert }));
  if (colour) tools.append(make("label", { htmlFor: colour.id, textContent: "Colour" }), colour);
  const node = make("div", { className: "field wide" }, make("span", { className: "name", textContent: field.name }), canvas,
    make("span", { className: "dim", id: id + "-hint", textContent: [hint, field.shape.join(" × ") + " pixels"].filter(Boolean).join(" · ") }), tools,
    make("div", { className: "row" }, make("label", { htmlFor: upload.id, textContent: "or take a file:" }), upload));

  function read() {
    return Array.from({ length: height }, (_, r) => Array.from({ length: width }, (_, c) => {
      const at = (r * width + c) * channels;
      return field.shape.length === 2 ? pixels[at] : Array.from(pixels.subarray(at, at + channels));
    }));
  }
  function write(rows) { pixels.set(rows.flat(3)); show(); }
  return { node, read, write, input: canvas };
}
