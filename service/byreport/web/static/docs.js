"use strict";

const field = (id) => document.getElementById(id);
let operations = [];

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function list(spec) {
  const found = [];
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (operation && operation.responses) {
        found.push({ path, method: method.toUpperCase(), ...operation });
      }
    }
  }
  return found;
}

function example(operation) {
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  const first = content && content.examples && Object.values(content.examples)[0];
  return first ? JSON.stringify(first.value, null, 2) : "";
}

const samples = { path: "medicaid/TX", rule_id: "common.code.specific", decision_id: "" };

function choose() {
  const operation = operations[field("operation").selectedIndex];
  field("path").value = operation.path.replace(/\{(\w+)\}/g, (_, name) => samples[name] ?? "");
  field("body-row").hidden = field("key-row").hidden = !operation.requestBody;
  field("body").value = example(operation);
}

function describe(operation) {
  const section = document.createElement("section");
  section.append(element("h3", `${operation.method} ${operation.path}`));
  section.append(element("p", [operation.summary, operation.description].filter(Boolean).join(". ")));
  const answers = Object.entries(operation.responses).map(([status, answer]) => `${status} ${answer.description}`);
  section.append(element("p", `Answers: ${answers.join(", ")}`));
  return section;
}

async function send(event) {
  event.preventDefault();
  const operation = operations[field("operation").selectedIndex];
  const request = { method: operation.method, headers: {} };
  if (operation.requestBody) {
    request.headers["Content-Type"] = "application/json";
    request.body = field("body").value;
    if (field("key").value) request.headers["Idempotency-Key"] = field("key").value;
  }
  field("status").textContent = "Sending …";
  try {
    const answer = await fetch(field("path").value, request);
    const text = await answer.text();
    field("status").textContent = `${answer.status} ${answer.statusText}`;
    try {
      const data = JSON.parse(text);
      field("answer").textContent = JSON.stringify(data, null, 2);
      if (data.decision_id) samples.decision_id = data.decision_id;
    } catch {
      field("answer").textContent = text;
    }
  } catch (error) {
    field("status").textContent = `No answer: ${error.message}`;
  }
}

async function start() {
  const [spec, problems] = await Promise.all(
    ["/openapi.json", "/docs/problems.json"].map((path) => fetch(path).then((answer) => answer.json())),
  );
  operations = list(spec);
  for (const operation of operations) {
    field("operation").append(element("option", `${operation.method} ${operation.path}`));
    field("operations").append(describe(operation));
  }
  for (const [kind, title] of Object.entries(problems)) {
    const term = element("dt", kind);
    term.id = kind;
    field("problems").append(term, element("dd", title));
  }
  const decide = operations.findIndex((operation) => operation.method === "POST");
  field("operation").selectedIndex = Math.max(decide, 0);
  choose();
  field("operation").addEventListener("change", choose);
  field("try").addEventListener("submit", send);
  if (location.hash) location.replace(location.hash);
}

start().catch((error) => {
  field("status").textContent = `The description could not be loaded: ${error.message}`;
});
