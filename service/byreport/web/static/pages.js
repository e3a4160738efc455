"use strict";

// Every page works without this: it prints, downloads, and tries an edit while it is typed.

const PAUSE = 700; // milliseconds without a key stroke before an edit is tried

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

const faults = document.getElementById("faults");
if (faults) faults.focus();

// Paper has no way to open what is closed.
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("main details:not([open])")];
  for (const details of closed) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});

const bench = document.getElementById("workbench");
if (bench) startWorkbench(bench);

function startWorkbench(form) {
  const text = form.elements.text;
  const said = document.getElementById("trying");
  const result = document.getElementById("trial");
  let waiting = 0;
  let under = null;

  async function tryIt() {
    if (under) under.abort();
    const turn = (under = new AbortController());
    said.textContent = "Trying …";
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { "X-Part": "trial" },
        signal: turn.signal,
      });
      if (answer.ok) {
        result.innerHTML = await answer.text();
        said.textContent = "Tried.";
      } else {
        said.textContent = `Not tried: ${(await answer.json()).detail}`;
      }
    } catch (error) {
      if (!turn.signal.aborted) said.textContent = `Not tried: ${error.message}`;
    }
  }

  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(tryIt, PAUSE);
  }

  function show(line, column) {
    const lines = text.value.split("\n");
    const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    const place = before + Math.max(column - 1, 0);
    text.focus();
    text.setSelectionRange(place, before + (lines[line - 1] || "").length);
    text.scrollTop = ((line - 4) * text.scrollHeight) / Math.max(lines.length, 1);
  }

  form.addEventListener("input", soon);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    tryIt();
  });
  result.addEventListener("click", (event) => {
    const place = event.target.closest("button.place");
    if (place) show(Number(place.dataset.line), Number(place.dataset.column));
  });
  const download = form.querySelector("[data-download]");
  download.hidden = false;
  download.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([text.value], { type: "text/yaml" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = form.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  tryIt();
}
