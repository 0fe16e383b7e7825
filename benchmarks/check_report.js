// What check_report.py asks of a page, as functions that it calls in the page.

function wide() {
  const root = document.scrollingElement;
  return root.scrollWidth > innerWidth ? [`the page is ${root.scrollWidth} px wide`] : [];
}

// ------------------------------------------------------------------------------------- contrast

const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

function linear(part) {
  const share = part / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}

function luminance([r, g, b]) {
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

// the shape that a text in a picture stands on
const SHAPES = { "a.node": ".box", "g.op": "circle", "g.pill": "rect" };

function ground(element) {
  for (const [owner, shape] of Object.entries(SHAPES))
    if (element.matches(owner)) return getComputedStyle(element.querySelector(shape)).fill;
  return getComputedStyle(element).backgroundColor;
}

function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(ground(at));
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
}

function contrast(element) {
  const style = getComputedStyle(element);
  const colour = rgba(element.closest("svg") ? style.fill : style.color);
  const [a, b] = [luminance(colour), luminance(behind(element))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

function faint(limit) {
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const element = walker.currentNode.parentElement;
    if (!text || element.closest("script, style, title, [hidden]")) continue;
    const ratio = contrast(element);
    if (ratio < limit) found.set(text, ratio);
  }
  return [...found].map(([text, ratio]) => `${ratio.toFixed(2)} : 1, ${text.slice(0, 60)}`);
}

// ---------------------------------------------------------------------------------------- theme

// the button goes through the system's setting, light and dark, and comes back
function theming() {
  const button = document.getElementById("theme");
  if (!button) return ["there is no button for light and dark"];
  const look = () => getComputedStyle(document.body).backgroundColor;
  const first = look();
  const looks = [0, 1, 2].map(() => (button.click(), look()));
  const good = looks[0] !== looks[1] && looks[2] === first && looks.indexOf(first) < 2;
  return good ? [] : [`the button gives ${looks.join(", ")} from ${first}`];
}

// -------------------------------------------------------------------------------------- sorting

function values(table, heading) {
  const cells = [...table.tBodies[0].rows].map((row) => row.cells[heading.cellIndex]);
  if (heading.dataset.sort !== "number") return cells.map((cell) => cell.textContent.trim());
  return cells.map((cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value)));
}

function order(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

// what is absent comes last, whatever the direction
function ordered(found, sign) {
  const present = found.filter((value) => value !== null);
  const last = found.slice(present.length).every((value) => value === null);
  return last && present.every((v, at) => at === 0 || sign * order(present[at - 1], v) <= 0);
}

function told(table, heading, direction) {
  const headings = [...table.tHead.rows[0].cells];
  return headings.every(
    (other) => other.getAttribute("aria-sort") === (other === heading ? direction : "none"),
  );
}

function sorting() {
  const wrong = [];
  for (const table of document.querySelectorAll("table")) {
    const count = table.tBodies[0].rows.length;
    for (const heading of table.tHead.rows[0].cells) {
      for (const [direction, sign] of [["ascending", 1], ["descending", -1]]) {
        heading.querySelector("button").click();
        const found = values(table, heading);
        const good = ordered(found, sign) && told(table, heading, direction);
        if (!good || found.length !== count)
          wrong.push(`${table.id}, ${heading.textContent}, ${direction}: ${found.join(", ")}`);
      }
    }
  }
  return wrong;
}
