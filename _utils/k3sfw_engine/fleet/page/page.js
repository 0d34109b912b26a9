"use strict";
// The page is whole without this script. It adds: search, copying, the picture of all pairs with its
// keyboard, the state in the address bar, and the download. Text of minions is only ever set as
// textContent, and nothing is fetched.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const make = (name, text, attributes) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  };
  root.classList.add("scripts");

  // -- the data: one character for each pair, run-length coded -----------------------------------

  const nodes = data.nodes.map(([id, role, addresses, at]) => ({ id, role, addresses, at }));
  const size = nodes.length;
  const rows = data.rows.map(([key, title, cells]) => ({ key, title, cells }));
  const decoded = new Map();
  const cellsOf = (row) => {
    const index = rows[row].cells;
    if (!decoded.has(index)) {
      const codes = new Uint8Array(size * size);
      let at = 0;
      let count = 0;
      for (const each of data.cells[index]) {
        const digit = each.charCodeAt(0) - 48;
        if (digit >= 0 && digit <= 9) count = count * 10 + digit;
        else {
          codes.fill(each.charCodeAt(0), at, at + (count || 1));
          at += count || 1;
          count = 0;
        }
      }
      decoded.set(index, codes);
    }
    return decoded.get(index);
  };
  const states = new Map();
  for (const [code, name, family, glyph, isProblem, says] of data.states) {
    states.set(code.charCodeAt(0), { code, name, family, glyph, isProblem, says });
  }
  const stateOf = (row, from, to) => states.get(cellsOf(row)[from * size + to]);
  const timeOf = (state, from) => (state.family === "self" || state.family === "silent" || state.family === "never" || state.family === "unasked" || state.family.startsWith("earlier") ? "" : nodes[from].at);
  const noteOf = (row, from, to) => data.notes[`${from},${to},${rows[row].key}`];

  // -- the state: kept in the address bar, so that a colleague sees the same ---------------------

  const view = { row: 0, from: "", to: "", status: "", q: "", at: [0, Math.min(1, size - 1)] };
  const indexOf = new Map(nodes.map((node, index) => [node.id, index]));

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!location.hash.includes("=")) return;
    const row = rows.findIndex((each) => each.key === given.get("row"));
    view.row = Math.max(row, 0);
    view.from = given.get("group-from") || "";
    view.to = given.get("group-to") || "";
    view.status = given.get("status") || "";
    view.q = given.get("q") || "";
    if (indexOf.has(given.get("from"))) view.at[0] = indexOf.get(given.get("from"));
    if (indexOf.has(given.get("to"))) view.at[1] = indexOf.get(given.get("to"));
  }

  function writeAddress() {
    const said = new URLSearchParams();
    if (view.row) said.set("row", rows[view.row].key);
    if (view.from) said.set("group-from", view.from);
    if (view.to) said.set("group-to", view.to);
    if (view.status) said.set("status", view.status);
    if (view.q) said.set("q", view.q);
    if (moved) {
      said.set("from", nodes[view.at[0]].id);
      said.set("to", nodes[view.at[1]].id);
    }
    const text = said.toString();
    try {
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    } catch (error) {
      // Some browsers refuse it in a sandboxed frame; the page works without.
    }
  }

  // -- searching ---------------------------------------------------------------------------------

  const searched = [...document.querySelectorAll(".searched")];

  function search() {
    const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
    let problems = 0;
    let all = 0;
    for (const each of searched) {
      const matches = words.every((word) => each.dataset.words.includes(word));
      each.hidden = !matches;
      if (matches && words.length) {
        all += 1;
        problems += each.classList.contains("problem") ? 1 : 0;
        const folded = each.closest("details");
        if (folded) folded.open = true;
      }
    }
    $("found").textContent = words.length ? `${all} ${all === 1 ? "entry matches" : "entries match"} “${view.q}”, ${problems} of them ${problems === 1 ? "a problem" : "problems"}.` : "";
  }

  // For each node once, as the picture asks for each of a million pairs.
  let matching = [];
  const findNodes = () => {
    const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
    matching = nodes.map(({ id, addresses }) => words.some((word) => id.toLowerCase().includes(word) || addresses.includes(word)));
    // A search for a port or a row is not about nodes, and dims none.
    if (!matching.includes(true)) matching.fill(true);
  };

  // -- copying and downloading -------------------------------------------------------------------

  async function copy(button) {
    const source = $(button.dataset.copies);
    let copied = false;
    try {
      await navigator.clipboard.writeText(source.textContent);
      copied = true;
    } catch (error) {
      getSelection().selectAllChildren(source);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Press Ctrl+C";
    $("found").textContent = copied ? "Copied." : "The fix is selected.";
    setTimeout(() => { button.textContent = "Copy"; $("found").textContent = ""; search(); }, 2500);
  }

  async function download() {
    const packed = Uint8Array.from(atob($("answers").textContent), (each) => each.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const blob = new Blob([await new Response(plain).blob()], { type: "application/json" });
    const link = make("a", "", { href: URL.createObjectURL(blob), download: data.file });
    document.body.append(link);
    link.click();
    link.remove();
  }

  // -- the picture -------------------------------------------------------------------------------

  const canvas = $("canvas");
  const frame = $("frame");
  const cell = $("cell");
  const DISTANCE = 6;
  const SMALLEST = 3;
  const LARGEST = 30;
  const NAMED = 11;
  let moved = false;
  let layout = null;
  let shown = { from: [], to: [] };

  const inGroup = (node, group) => !group || data.roles[node.role] === group;
  const choose = () => {
    const all = nodes.map((_, index) => index);
    shown = { from: all.filter((index) => inGroup(nodes[index], view.from)), to: all.filter((index) => inGroup(nodes[index], view.to)) };
    const inside = (list, index) => (list.includes(index) || !list.length ? index : list[0]);
    view.at = [inside(shown.from, view.at[0]), inside(shown.to, view.at[1])];
  };
  const isDimmed = (state, from, to) =>
    (view.status === "problems" && !state.isProblem) ||
    (view.status && view.status !== "problems" && state.family !== view.status) ||
    (!matching[from] && !matching[to]);

  function measure() {
    const style = getComputedStyle(document.body);
    const context = canvas.getContext("2d");
    const wide = Math.max(shown.to.length, 1);
    const longest = (list) => Math.min(160, Math.max(0, ...list.map((index) => context.measureText(nodes[index].id).width)));
    const font = (pixels) => `${pixels}px ${style.fontFamily}`;
    context.font = font(12);
    const roleGaps = (list) => list.filter((index, at) => at && nodes[list[at - 1]].role !== nodes[index].role).length * DISTANCE;
    const room = frame.parentElement.clientWidth - roleGaps(shown.to) - 6;
    let left = longest(shown.from) + 10;
    let pixels = Math.floor((room - left) / wide);
    const named = pixels >= NAMED;
    if (!named) {
      left = 20;
      pixels = Math.floor((room - left) / wide);
    }
    pixels = Math.max(SMALLEST, Math.min(LARGEST, pixels));
    const top = named ? longest(shown.to) + 10 : 20;
    const places = (list, start) => {
      let at = start;
      return list.map((index, position) => {
        if (position && nodes[list[position - 1]].role !== nodes[index].role) at += DISTANCE;
        const place = at;
        at += pixels;
        return place;
      });
    };
    const xs = places(shown.to, left);
    const ys = places(shown.from, top);
    layout = { pixels, named, xs, ys, font, width: (xs[xs.length - 1] || left) + pixels + 4, height: (ys[ys.length - 1] || top) + pixels + 4 };
  }

  function palette() {
    const style = getComputedStyle(root);
    const forced = matchMedia("(forced-colors: active)").matches;
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    const fill = (family) => {
      if (forced) return ["blocked", "exposed"].includes(family) ? "CanvasText" : "Canvas";
      return value(family === "ok" && layout.pixels < NAMED ? "ok-small" : family);
    };
    const sign = (family) => {
      if (forced) return ["blocked", "exposed"].includes(family) ? "Canvas" : "CanvasText";
      return value(`on-${family.replace(/\d/, "")}`);
    };
    return { fill, sign, ink: forced ? "CanvasText" : value("ink"), paper: forced ? "Canvas" : value("panel"), soft: forced ? "CanvasText" : value("soft"), line: forced ? "CanvasText" : value("edge") };
  }

  function draw() {
    if (size < 2) return;
    choose();
    measure();
    const scale = Math.min(window.devicePixelRatio || 1, 3);
    canvas.width = layout.width * scale;
    canvas.height = layout.height * scale;
    canvas.style.width = `${layout.width}px`;
    canvas.style.height = `${layout.height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const colors = palette();
    context.fillStyle = colors.paper;
    context.fillRect(0, 0, layout.width, layout.height);
    drawNames(context, colors);
    drawCells(context, colors);
    place();
  }

  function drawNames(context, colors) {
    context.fillStyle = colors.soft;
    context.textBaseline = "middle";
    context.font = layout.font(12);
    const name = (list, at) => (layout.named ? nodes[list[at]].id : at && nodes[list[at - 1]].role === nodes[list[at]].role ? "" : data.roles[nodes[list[at]].role] + "s");
    const half = layout.named ? layout.pixels / 2 : 0;
    // Two roles may begin so near to each other that their names would overlap.
    let end = 0;
    const clipped = (text) => { let cut = text; while (cut && context.measureText(cut).width > 150) cut = cut.slice(0, -1); return cut === text ? text : `${cut.slice(0, -1)}…`; };
    shown.from.forEach((_, at) => {
      const text = clipped(name(shown.from, at));
      if (!text) return;
      context.save();
      if (layout.named) {
        context.textAlign = "right";
        context.fillText(text, layout.xs[0] - 5, layout.ys[at] + half);
      } else {
        const start = Math.max(layout.ys[at], end);
        end = start + context.measureText(text).width + 8;
        context.translate(9, start);
        context.rotate(-Math.PI / 2);
        context.textAlign = "right";
        context.fillText(text, 0, 0);
      }
      context.restore();
    });
    end = 0;
    shown.to.forEach((_, at) => {
      const text = clipped(name(shown.to, at));
      if (!text) return;
      context.save();
      context.textAlign = "left";
      if (layout.named) {
        context.translate(layout.xs[at] + half, layout.ys[0] - 5);
        context.rotate(-Math.PI / 2);
        context.fillText(text, 0, 0);
      } else {
        const start = Math.max(layout.xs[at], end);
        end = start + context.measureText(text).width + 8;
        context.fillText(text, start, 9);
      }
      context.restore();
    });
  }

  function drawCells(context, colors) {
    const codes = cellsOf(view.row);
    const { pixels, xs, ys, named } = layout;
    const gap = pixels > 6 ? 1 : 0;
    const marked = [];
    shown.from.forEach((from, line) => {
      shown.to.forEach((to, column) => {
        const state = states.get(codes[from * size + to]);
        if (!state || (state.family === "never" && !named)) return;
        context.globalAlpha = isDimmed(state, from, to) ? 0.15 : 1;
        if (state.isProblem && !named) { marked.push([state, from, to, xs[column], ys[line]]); return; }
        context.fillStyle = colors.fill(state.family);
        context.fillRect(xs[column], ys[line], pixels - gap, pixels - gap);
        if (state.family === "silent") hatch(context, colors, xs[column], ys[line], pixels - gap);
        if (named && state.glyph.trim()) {
          context.fillStyle = colors.sign(state.family);
          context.font = layout.font(Math.round(pixels * 0.6));
          context.textAlign = "center";
          context.textBaseline = "middle";
          context.fillText(state.glyph, xs[column] + (pixels - gap) / 2, ys[line] + pixels / 2);
        }
        if (named && state.family === "never") { context.strokeStyle = colors.line; context.globalAlpha *= 0.35; context.strokeRect(xs[column] + 0.5, ys[line] + 0.5, pixels - gap - 1, pixels - gap - 1); }
      });
    });
    // One bad pair among 90,000 must be seen: it is drawn larger than its place, with a rim, last.
    for (const [state, from, to, x, y] of marked) {
      const wide = Math.max(pixels, 5);
      context.globalAlpha = isDimmed(state, from, to) ? 0.15 : 1;
      context.fillStyle = colors.paper;
      context.fillRect(x - 2, y - 2, wide + 2, wide + 2);
      context.fillStyle = colors.fill(state.family);
      context.fillRect(x - 1, y - 1, wide, wide);
      if (state.family === "exposed" || state.family === "conflict") { context.fillStyle = colors.paper; context.fillRect(x + wide / 2 - 2, y + wide / 2 - 2, 2, 2); }
    }
    context.globalAlpha = 1;
  }

  function hatch(context, colors, x, y, wide) {
    context.save();
    context.beginPath();
    context.rect(x, y, wide, wide);
    context.clip();
    context.strokeStyle = colors.line;
    context.lineWidth = 1;
    context.beginPath();
    for (let at = -wide + ((x + y) % 4); at < wide; at += 4) { context.moveTo(x + at, y + wide); context.lineTo(x + at + wide, y); }
    context.stroke();
    context.restore();
  }

  // -- moving in the picture ---------------------------------------------------------------------

  const sentence = (row, from, to) => {
    const state = stateOf(row, from, to);
    const time = timeOf(state, from);
    return `${nodes[from].id} to ${nodes[to].id}, ${rows[row].title}: ${state.says}${time ? `, asked ${time}` : ""}.`;
  };

  function place() {
    const line = shown.from.indexOf(view.at[0]);
    const column = shown.to.indexOf(view.at[1]);
    if (line < 0 || column < 0) return;
    const pixels = Math.max(layout.pixels - (layout.pixels > 6 ? 1 : 0), 5);
    Object.assign(cell.style, { left: `${layout.xs[column]}px`, top: `${layout.ys[line]}px`, width: `${pixels}px`, height: `${pixels}px` });
    $("grid").setAttribute("aria-rowcount", shown.from.length);
    $("grid").setAttribute("aria-colcount", shown.to.length);
    $("grid-row").setAttribute("aria-rowindex", line + 1);
    cell.setAttribute("aria-colindex", column + 1);
    cell.setAttribute("aria-label", sentence(view.row, ...view.at));
  }

  function say() {
    const note = noteOf(view.row, ...view.at);
    $("said").textContent = sentence(view.row, ...view.at);
    if (note) {
      $("said").append(" ", make("bdi", note[1]));
      if (note[0]) $("said").append(" ", make("a", `Problem ${note[0]}`, { href: `#problem-${note[0]}` }));
    }
  }

  function goTo(from, to, options) {
    view.at = [from, to];
    moved = true;
    place();
    say();
    $("pair").replaceChildren();
    if (!$("pair-table").hidden) showTable();
    if (!options || options.reveal !== false) cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    writeAddress();
  }

  function nextProblem(step) {
    const order = [];
    for (const from of shown.from) for (const to of shown.to) {
      const state = stateOf(view.row, from, to);
      if (state.isProblem && !isDimmed(state, from, to)) order.push([from, to]);
    }
    if (!order.length) { $("said").textContent = "No pair of this view has a problem."; return; }
    const place = (pair) => shown.from.indexOf(pair[0]) * size + shown.to.indexOf(pair[1]);
    const here = moved ? place(view.at) : -1;
    const after = step > 0 ? order.find((pair) => place(pair) > here) || order[0] : [...order].reverse().find((pair) => place(pair) < here) || order[order.length - 1];
    goTo(...after);
  }

  function openPair() {
    const [from, to] = view.at;
    const table = make("table", undefined, { class: "list" });
    table.append(make("caption", `${nodes[from].id} to ${nodes[to].id}`));
    const head = make("tr");
    for (const title of ["Row", "State", "Evidence"]) head.append(make("th", title, { scope: "col" }));
    table.append(make("thead"));
    table.tHead.append(head);
    const body = make("tbody");
    rows.forEach((row, index) => {
      if (!index) return;
      const state = stateOf(index, from, to);
      const note = noteOf(index, from, to);
      const line = make("tr");
      line.append(make("th", row.title, { scope: "row" }));
      line.append(marked(state));
      line.append(make("td", note ? note[1] : ""));
      body.append(line);
    });
    table.append(body);
    const region = make("div", undefined, { class: "scroll", role: "group", tabindex: "0", "aria-label": `Every row from ${nodes[from].id} to ${nodes[to].id}` });
    region.append(table);
    $("pair").replaceChildren(region);
  }

  function marked(state) {
    const place = make("td");
    place.append(make("span", state.glyph, { class: `mark s-${state.family}`, "aria-hidden": "true" }), ` ${state.says}`);
    return place;
  }

  function showTable() {
    const own = view.at[0];
    const other = view.at[1];
    const table = (title, pairs) => {
      const element = make("table", undefined, { class: "list" });
      element.append(make("caption", title));
      const head = make("tr");
      for (const each of ["Node", "State", "Asked"]) head.append(make("th", each, { scope: "col" }));
      element.append(make("thead"));
      element.tHead.append(head);
      const body = make("tbody");
      for (const [name, from, to] of pairs) {
        const state = stateOf(view.row, from, to);
        const line = make("tr");
        line.append(make("th", name, { scope: "row" }), marked(state), make("td", timeOf(state, from)));
        body.append(line);
      }
      element.append(body);
      const region = make("div", undefined, { class: "scroll", role: "group", tabindex: "0", "aria-label": title });
      region.append(element);
      return region;
    };
    $("pair-table").replaceChildren(
      table(`From ${nodes[own].id}, ${rows[view.row].title}`, shown.to.map((to) => [nodes[to].id, own, to])),
      table(`To ${nodes[other].id}, ${rows[view.row].title}`, shown.from.map((from) => [nodes[from].id, from, other])),
    );
  }

  function count() {
    const found = new Map();
    for (const from of shown.from) for (const to of shown.to) {
      const { family } = stateOf(view.row, from, to);
      found.set(family, (found.get(family) || 0) + 1);
    }
    for (const each of document.querySelectorAll("[data-family]")) each.querySelector(".count").textContent = (found.get(each.dataset.family) || 0).toLocaleString("en");
  }

  // A narrow screen cannot show hundreds of columns: the nodes in most bad pairs, as a list.
  function showWorst() {
    const bad = nodes.map(() => [0, 0]);
    const codes = cellsOf(view.row);
    for (let from = 0; from < size; from += 1) for (let to = 0; to < size; to += 1) {
      if (states.get(codes[from * size + to])?.isProblem) { bad[from][0] += 1; bad[to][1] += 1; }
    }
    const order = nodes.map((_, index) => index).filter((index) => bad[index][0] + bad[index][1]);
    order.sort((one, other) => bad[other][0] + bad[other][1] - bad[one][0] - bad[one][1] || one - other);
    const list = make("ul");
    for (const index of order.slice(0, 20)) {
      const item = make("li");
      item.append(make("bdi", nodes[index].id), `: ${bad[index][0]} bad as sender, ${bad[index][1]} as receiver`);
      list.append(item);
    }
    $("worst").hidden = size <= 20 || !order.length;
    $("worst").replaceChildren(make("h3", order.length > 20 ? `The 20 worst of ${order.length} nodes in bad pairs` : "Nodes in bad pairs"), list);
  }

  const MOVES = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  };

  function onKey(event) {
    if (event.altKey || event.metaKey) return;
    let line = shown.from.indexOf(view.at[0]);
    let column = shown.to.indexOf(view.at[1]);
    const last = [shown.from.length - 1, shown.to.length - 1];
    const key = event.key;
    const roleStart = (step) => {
      let at = line;
      const role = nodes[shown.from[line]].role;
      while (at + step >= 0 && at + step <= last[0] && nodes[shown.from[at]].role === role) at += step;
      return at;
    };
    if (MOVES[key]) { line += MOVES[key][0]; column += MOVES[key][1]; }
    else if (key === "Home") { column = 0; if (event.ctrlKey) line = 0; }
    else if (key === "End") { column = last[1]; if (event.ctrlKey) line = last[0]; }
    else if (key === "PageDown") line = roleStart(1);
    else if (key === "PageUp") line = roleStart(-1);
    else if (key === "Enter" || key === " ") { event.preventDefault(); openPair(); return; }
    else if (key === "Escape") { $("pair").replaceChildren(); return; }
    else if ((key === "n" || key === "p") && !event.ctrlKey) { event.preventDefault(); nextProblem(key === "n" ? 1 : -1); return; }
    else return;
    event.preventDefault();
    line = Math.max(0, Math.min(last[0], line));
    column = Math.max(0, Math.min(last[1], column));
    goTo(shown.from[line], shown.to[column]);
  }

  function pairAt(event) {
    const box = canvas.getBoundingClientRect();
    const nearest = (places, at) => places.findIndex((place) => at >= place && at < place + layout.pixels);
    const column = nearest(layout.xs, event.clientX - box.left);
    const line = nearest(layout.ys, event.clientY - box.top);
    return line < 0 || column < 0 ? null : [shown.from[line], shown.to[column]];
  }

  // -- putting it together -----------------------------------------------------------------------

  function options(select, pairs, chosen) {
    for (const [value, text] of pairs) select.append(make("option", text, { value }));
    select.value = pairs.some(([value]) => value === chosen) ? chosen : pairs[0][0];
  }

  function fillControls() {
    options($("row"), rows.map((row, index) => [String(index), row.title]), String(view.row));
    const groups = [["", "All nodes"], ...data.roles.map((role) => [role, `${role}s`])];
    options($("from"), groups, view.from);
    options($("to"), groups, view.to);
    const families = [...new Set([...states.values()].map((state) => state.family))];
    const names = new Map([...states.values()].map((state) => [state.family, state.name]));
    options($("status"), [["", "Every state"], ["problems", "Problems only"], ...families.map((family) => [family, names.get(family)])], view.status);
    [view.from, view.to, view.status] = [$("from").value, $("to").value, $("status").value];
    $("search").value = view.q;
  }

  function refresh() {
    search();
    findNodes();
    if (size < 2) return;
    draw();
    count();
    showWorst();
    if (!$("pair-table").hidden) showTable();
    writeAddress();
  }

  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", () => copy(button));
  $("search").addEventListener("input", () => { view.q = $("search").value; refresh(); });
  if ($("answers").textContent) $("download").addEventListener("click", download);
  else $("download").hidden = true;
  if (size > 1) {
    readAddress();
    moved = location.hash.includes("from=") && location.hash.includes("to=");
    fillControls();
    for (const [id, key] of [["from", "from"], ["to", "to"], ["status", "status"]]) $(id).addEventListener("change", () => { view[key] = $(id).value; refresh(); });
    $("row").addEventListener("change", () => { view.row = Number($("row").value); refresh(); if (moved) say(); });
    $("next").addEventListener("click", () => nextProblem(1));
    $("previous").addEventListener("click", () => nextProblem(-1));
    $("as-table").addEventListener("click", () => {
      const hide = !$("pair-table").hidden;
      $("pair-table").hidden = hide;
      $("as-table").setAttribute("aria-expanded", String(!hide));
      $("as-table").textContent = hide ? "Show as table" : "Hide the table";
      if (!hide) showTable();
    });
    cell.addEventListener("keydown", onKey);
    cell.addEventListener("focus", () => { place(); if (moved) say(); else $("said").textContent = sentence(view.row, ...view.at); });
    canvas.addEventListener("click", (event) => { const pair = pairAt(event); if (pair) { goTo(...pair); cell.focus(); } });
    canvas.addEventListener("pointermove", (event) => { const pair = pairAt(event); canvas.title = pair ? sentence(view.row, ...pair) : ""; });
    let width = 0;
    const around = frame.parentElement;
    new ResizeObserver(() => { if (around.clientWidth !== width) { width = around.clientWidth; draw(); } }).observe(around);
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "(forced-colors: active)", "print"]) matchMedia(query).addEventListener("change", draw);
    refresh();
    if (moved) say();
  } else {
    for (const each of document.querySelectorAll(".controls, .picture, #worst")) each.hidden = true;
    if (location.hash.includes("=")) { readAddress(); $("search").value = view.q; }
    search();
  }
  const folded = [];
  addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details:not([open])")) { folded.push(each); each.open = true; } if (size > 1) draw(); });
  addEventListener("afterprint", () => { for (const each of folded.splice(0)) each.open = false; if (size > 1) draw(); });
  root.dataset.ready = "yes";
})();
