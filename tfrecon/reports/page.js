"use strict";

// Tables: a click on a head sorts by its column, the best first, and a second click turns it round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent) button.setAttribute("aria-label", "Rank");
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.best === "high" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const cell of heads) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      sort(table.tBodies[0], column, Boolean(head.dataset.best), order === "ascending" ? 1 : -1);
    });
  });
}

function sort(body, column, numeric, sign) {
  const key = (row) => {
    const cell = row.cells[column];
    return numeric ? parseFloat(cell.dataset.value) : cell.textContent.trim();
  };
  const missing = (value) => value === "" || Number.isNaN(value);
  const rows = [...body.rows].map((row) => ({ row, value: key(row) }));
  rows.sort((first, second) => {
    const lacks = missing(first.value) - missing(second.value);
    if (lacks || missing(first.value)) return lacks;
    return sign * (numeric ? first.value - second.value : first.value.localeCompare(second.value));
  });
  body.append(...rows.map(({ row }) => row));
}

// Pictures: the slider's share is one of what is visible, so that it works in the enlargement too.
for (const figure of document.querySelectorAll(".compare")) {
  const frames = [...figure.querySelectorAll(".frame")];
  const frame = figure.querySelector(".slides");
  const stack = frame.querySelector(".stack");
  const range = figure.querySelector("input");
  const button = figure.querySelector(".zoom");

  const place = () => {
    const at = (frame.scrollLeft + (range.value / 100) * frame.clientWidth) / stack.clientWidth;
    stack.style.setProperty("--at", `${100 * at}%`);
  };
  const zoom = (x, y) => {
    if (!figure.classList.contains("zoomed")) {
      figure.style.setProperty("--shape", stack.style.aspectRatio);
      figure.style.setProperty("--wide", `${frame.clientWidth}px`);
    }
    const zoomed = figure.classList.toggle("zoomed");
    button.setAttribute("aria-pressed", zoomed);
    frame.scrollLeft = x * stack.clientWidth - frame.clientWidth / 2;
    frame.scrollTop = y * stack.clientHeight - frame.clientHeight / 2;
    place();
  };
  range.addEventListener("input", place);
  button.addEventListener("click", () => zoom(0.5, 0.5));
  stack.addEventListener("click", (event) => {
    const box = stack.getBoundingClientRect();
    zoom((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  for (const scrolled of frames) {
    scrolled.addEventListener("scroll", () => {
      for (const other of frames) {
        if (other !== scrolled) other.scrollTo(scrolled.scrollLeft, scrolled.scrollTop);
      }
      place();
    });
  }
}

// Configurations: the keys in which two results differ.
const difference = document.getElementById("difference");
if (difference) {
  const configs = JSON.parse(document.getElementById("configs").textContent);
  const [first, second] = difference.querySelectorAll("select");
  const output = difference.querySelector(".scroll");
  second.value = "1";
  const show = () => {
    const chosen = [configs[first.value], configs[second.value]];
    const [left, right] = chosen.map(({ config }) => flat(config));
    const keys = [...new Set([...left.keys(), ...right.keys()])].sort();
    const differing = keys.filter((key) => left.get(key) !== right.get(key));
    output.replaceChildren(
      differing.length ? keyTable(chosen, differing, left, right) : sentence("They do not differ."),
    );
  };
  first.addEventListener("change", show);
  second.addEventListener("change", show);
  difference.hidden = false;
  show();
}

function flat(value, path = "", settings = new Map()) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    for (const [key, part] of Object.entries(value)) {
      flat(part, path ? `${path}.${key}` : key, settings);
    }
  } else {
    settings.set(path, typeof value === "string" ? value : JSON.stringify(value));
  }
  return settings;
}

function keyTable(chosen, keys, left, right) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["Key", ...chosen.map(({ name }) => name)]) {
    head.append(element("th", name, { scope: "col" }));
  }
  const body = table.createTBody();
  for (const key of keys) {
    const row = body.insertRow();
    row.append(
      element("th", key, { scope: "row" }),
      element("td", left.get(key) ?? "–"),
      element("td", right.get(key) ?? "–"),
    );
  }
  return table;
}

function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.textContent = text;
  return made;
}

function sentence(text) {
  return element("p", text);
}
