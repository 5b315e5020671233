// The page's side of the reading room: what is dropped is sent, what is answered is shown. No library, no network but
// this server; words come with the page, answers as plain values, images and maps as levels that a canvas colours.
import { Viewer } from "./viewer.js";

const told = JSON.parse(document.body.dataset.told);
const facts = JSON.parse(document.body.dataset.facts);
const language = document.documentElement.lang.startsWith("zh") ? "zh" : "en";
const $ = (id) => document.getElementById(id);
const words = (key, values = {}) => told[key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
const called = (label) => facts.names[facts.labels.indexOf(label)] ?? label;
const round = (value, digits = 2) => (value === null || value === undefined ? "—" : value.toFixed(digits));

function made(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const state = { items: [], chosen: null, sending: 0, label: 0, correcting: "", shownKey: "" };
const viewer = new Viewer({ plain: $("plain"), overlay: $("overlay") }, { moved: showNumbers });

// --- sending -------------------------------------------------------------------------------------------------------

const AT_ONCE = facts.volumes ? Infinity : 40;

async function send(files) {
  const list = [...files].filter((file) => !file.name.startsWith("."));
  if (!list.length) return;
  state.sending += list.length;
  showList();
  for (let start = 0; start < list.length; start += AT_ONCE) {
    const part = list.slice(start, start + AT_ONCE);
    const form = new FormData();
    part.forEach((file) => form.append("files", file, file.name));
    try {
      const sent = await asked("/api/items", { method: "POST", body: form });
      state.items.push(...sent.items);
      if (!state.chosen && sent.items.length) choose(sent.items[0].id);
    } catch (error) {
      say(error.message);
    }
    state.sending -= part.length;
    showList();
  }
  look();
}

// One case: cells by column, and its images with the view of each.
async function sendCase(event) {
  event.preventDefault();
  const form = new FormData(), views = [], cells = {};
  for (const field of event.target.querySelectorAll("[data-field]")) cells[field.dataset.field] = field.value.trim();
  for (const input of event.target.querySelectorAll("[data-view]")) {
    for (const file of input.files) {
      form.append("files", file, file.name);
      views.push(input.dataset.view);
    }
  }
  form.append("cells", JSON.stringify(cells));
  form.append("views", JSON.stringify(views));
  try {
    const sent = await asked("/api/cases", { method: "POST", body: form });
    state.items.push(...sent.items);
    choose(sent.items[0].id);
  } catch (error) {
    say(error.message);
  }
  look();
}

async function asked(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error(words("failed"));
  }
  if (answer.status === 204) return null;
  const text = await answer.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { error: text };
  }
  if (answer.status === 413) throw new Error(told.refusal.sent);
  if (!answer.ok) throw new Error(value.error || words("failed"));
  return value;
}

async function filesOf(entries) {
  const found = [];
  async function walk(entry) {
    if (entry.isFile) found.push(await new Promise((done, fail) => entry.file(done, fail)));
    else {
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!part.length) break;
        for (const one of part) await walk(one);
      }
    }
  }
  for (const entry of entries) await walk(entry);
  return found;
}

// --- following ------------------------------------------------------------------------------------------------------

let timer = 0;

async function look() {
  clearTimeout(timer);
  try {
    const found = await asked("/api/items");
    state.items = found.items;
  } catch (error) {
    say(error.message);
  }
  if (!state.items.some((item) => item.id === state.chosen)) state.chosen = state.items[0]?.id ?? null;
  show();
  const unfinished = state.items.some(
    (item) => item.state === "waiting" || (item.state === "answered" && item.alike === null) || item.maps.state === "drawing" || item.mask.state === "drawing",
  );
  if (unfinished || state.sending) timer = setTimeout(look, 350);
}

function chosen() {
  return state.items.find((item) => item.id === state.chosen);
}

function choose(id) {
  state.chosen = id;
  state.correcting = "";
  show();
}

// --- the worklist ---------------------------------------------------------------------------------------------------

function inShort(item) {
  if (item.state === "waiting") return ["", words("waiting")];
  if (item.state === "refused") return ["refused", words("refused")];
  if (item.answer.unlike) return ["odd", words(item.answer.blank ? "blank" : "unlike")];
  const targets = item.answer.targets;
  const found = targets.filter((target) => target.answer === "yes" || target.kind === "multiclass" || target.kind === "ordinal");
  const values = targets.filter((target) => target.kind === "continuous");
  const said = [...found, ...values].map((target) => (target.answer === "yes" ? target.positive || target.name : inWord(target)));
  if (said.length) return [found.some((target) => target.answer === "yes") ? "yes" : "", said.join(told.comma)];
  if (targets.every((target) => target.answer === "none")) return ["odd", words("none")];
  return ["", words(targets.some((target) => target.answer === "unsure") ? "unsure" : "no")];
}

function showList() {
  document.body.classList.toggle("busy", state.items.length > 0 || state.sending > 0);
  const rows = state.items.map((item) => {
    const [tone, word] = inShort(item);
    return made(
      "li",
      { role: "option", id: `item-${item.id}`, "aria-selected": String(item.id === state.chosen), onclick: () => choose(item.id) },
      made("span", { class: "name", title: item.name }, item.name),
      made("span", { class: `word ${tone}` }, word),
      made("button", { class: "drop-one", type: "button", "aria-label": `${words("remove")}: ${item.name}`, title: words("remove"), onclick: (event) => { event.stopPropagation(); remove(item.id); } }, "×"),
    );
  });
  const focused = document.activeElement === $("items");
  $("items").replaceChildren(...rows);
  if (state.chosen) $("items").setAttribute("aria-activedescendant", `item-${state.chosen}`);
  if (focused) $("items").focus();
  const total = state.items.length + state.sending;
  const n = state.items.filter((item) => item.state === "answered").length;
  const refused = state.items.filter((item) => item.state === "refused").length;
  const done = n + refused;
  const counted = words(refused ? "progress_refused" : "progress", { n, total, refused });
  $("progress").textContent = state.sending ? words("sending") : total ? counted : "";
  $("bar").hidden = done === total;
  $("bar").firstElementChild.style.width = `${total ? (100 * done) / total : 0}%`;
  $("empty").hidden = total > 0;
  $("listfoot").hidden = !state.items.length;
}

async function remove(id) {
  await asked(`/api/items/${id}`, { method: "DELETE" }).catch((error) => say(error.message));
  look();
}

// --- the answer -----------------------------------------------------------------------------------------------------

function inWord(target) {
  if (target.answer === "yes" && target.positive) return words("yes_class", { name: target.positive });
  if (["yes", "no", "unsure", "none"].includes(target.answer)) return words(target.answer);
  return target.unit ? `${target.answer} ${target.unit}` : target.answer;
}

function tested(target) {
  const test = target.test;
  if (!test || test.metric === undefined) return words("untested");
  if (test.value === undefined) return words("unjudged");
  let value = round(test.value);
  if (test.low !== null && test.low !== undefined) value += ` (${language === "zh" ? `${round(test.low)} 至 ${round(test.high)}` : `${round(test.low)} to ${round(test.high)}`})`;
  if (test.metric === "mae") return words("tested_value", { value });
  return test.n_positive === undefined ? words("tested_classes", { value, n: test.n }) : words("tested", { value, n: test.n_positive });
}

function scale(value, cut, faint) {
  const filled = made("span", { class: faint ? "filled faint" : "filled" });
  filled.style.width = `${100 * Math.max(0, Math.min(1, value ?? 0))}%`;
  const bar = made("div", { class: "scale", "aria-hidden": "true" }, filled);
  if (cut !== null && cut !== undefined) {
    const mark = made("span", { class: "cut" });
    mark.style.left = `calc(${100 * cut}% - 1px)`;
    bar.append(mark);
  }
  return bar;
}

function numbers(target) {
  const none = target.answer === "none";
  if (target.kind === "binary") {
    const p = target.classes[0].probability;
    const byPoint = !target.members.length && !none;
    const said = byPoint ? words("probability_of", { p: round(p), threshold: round(target.threshold) }) : words("probability_alone", { p: round(p) });
    return [scale(p, byPoint ? target.threshold : null, none), made("span", { class: "small" }, said)];
  }
  if (target.kind === "continuous") {
    return target.members.length ? [made("span", { class: "small" }, words("ends", { low: target.members[0], high: target.members[1] }))] : [];
  }
  const rows = [...target.classes].sort((a, b) => b.probability - a.probability).slice(0, 6);
  return [made("div", { class: "classes" }, ...rows.flatMap((one) => [made("span", {}, one.name), scale(one.probability, null, none), made("span", {}, round(one.probability))]))];
}

function truths(target) {
  const known = facts.targets.find((one) => one.name === target.name).classes;
  const plain = known.length === 2 && known[0] === "0" && known[1] === "1";
  return known.map((value, k) => [value, plain ? words(k ? "class_positive" : "class_negative") : value]);
}

function reader(item, target) {
  if (target.kind === "continuous") return null;
  const stored = item.corrected[target.name];
  const called = truths(target).find(([value]) => value === stored)?.[1];
  if (stored !== undefined && state.correcting !== target.name) {
    return made("p", { class: "stored", role: "status" }, words("stored", { label: called }), " ", made("button", { class: "link", type: "button", onclick: () => correct(target.name) }, words("wrong")));
  }
  if (state.correcting !== target.name) return null;
  return made(
    "div",
    { class: "reader" },
    made("b", {}, words("right_is", { target: target.name })),
    made("div", { class: "buttons" }, ...truths(target).map(([value, name]) => made("button", { class: "button", type: "button", "data-label": value, onclick: () => store(item, target.name, value) }, name))),
    made("span", { class: "small" }, words("store_note")),
  );
}

function correct(name) {
  state.correcting = state.correcting === name ? "" : name;
  showAnswer();
  document.querySelector(".reader button")?.focus();
}

async function store(item, target, label) {
  const body = JSON.stringify({ target, label });
  try {
    const changed = await asked(`/api/items/${item.id}/correction`, { method: "POST", body, headers: { "content-type": "application/json" } });
    state.items = state.items.map((one) => (one.id === changed.id ? changed : one));
    state.correcting = "";
  } catch (error) {
    say(error.message);
  }
  show();
}

function block(item, target) {
  const first = facts.labels.indexOf(target.classes[0].label);
  const top = target.classes.reduce((best, one) => (one.probability > best.probability ? one : best));
  const own = target.kind === "binary" ? first : facts.labels.indexOf(top.label);
  const isShown = target.classes.some((one) => facts.labels.indexOf(one.label) === state.label);
  const open = target.why === "unsure" && target.kind !== "binary" ? `: ${target.members.join(told.comma)}` : "";
  const why = target.why ? made("span", { class: "small" }, `${told.why[target.why]}${open}`) : null;
  return made(
    "div",
    { class: isShown ? "target shown" : "target", "data-target": target.name },
    made("div", { class: "head" },
      made("button", { class: "title", type: "button", title: words("map_of", { name: called(facts.labels[own]) }), onclick: () => pick(own) }, target.kind === "binary" ? called(target.classes[0].label) : target.name),
      target.kind === "continuous" || item.corrected[target.name] !== undefined ? null : made("button", { class: "link wrong", type: "button", onclick: () => correct(target.name) }, words("wrong"))),
    made("div", { class: `said ${["yes", "no", "none", "unsure"].includes(target.answer) ? target.answer : "class"}` }, inWord(target)),
    why,
    ...(target.why === "unlike" ? [] : numbers(target)),
    target.why === "unjudged" ? null : made("span", { class: "small" }, tested(target)),
    reader(item, target),
  );
}

// Of a training image its labels: of 0 and 1 the names of the ones that it has, else the classes.
function labelsOf(labels) {
  const said = facts.targets.filter((target) => labels[target.name] !== undefined).map((target) => {
    const [name, value] = [target.name, labels[target.name]];
    if (target.classes.length === 2 && target.classes[0] === "0") return value === "1" ? name : "";
    return facts.targets.length === 1 ? value : `${name} ${value}`;
  });
  return said.filter(Boolean).join(told.comma) || words("no_label");
}

function alike(item) {
  const figures = item.alike.map((one, k) => made("figure", {},
    one.shown ? made("img", { src: `/api/items/${item.id}/alike/${k}`, alt: labelsOf(one.labels) }) : null,
    made("figcaption", {}, labelsOf(one.labels))));
  return made("section", { class: "alike" }, made("h3", {}, words("alike")), made("div", { class: "few" }, ...figures));
}

// One sheet for all images of a patient, where their files say whose they are.
function sheet(item) {
  const own = item.answer.patient;
  const all = own ? state.items.filter((one) => one.state === "answered" && one.answer.patient === own) : [item];
  const asked = [item, ...all.filter((one) => one.id !== item.id)].map((one) => `item=${one.id}`).join("&");
  const name = all.length > 1 ? words("pdf_patient", { n: all.length }) : words("pdf");
  return made("p", { class: "buttons" }, made("a", { class: "button", id: "pdf", href: `/api/sheet.pdf?${asked}&lang=${language}`, download: true }, name));
}

function showAnswer() {
  const item = chosen();
  if (!item) return $("answer").replaceChildren();
  const parts = [made("p", { class: "file" }, item.name)];
  if (item.state === "waiting") parts.push(made("div", { class: "notice" }, words("waiting")));
  if (item.state === "refused") parts.push(made("div", { class: "notice odd" }, made("b", {}, words("refused")), made("p", {}, told.refusal[item.refusal]), made("p", { class: "small" }, item.reason)));
  if (item.state === "answered") {
    const unlike = item.answer.unlike;
    const kind = item.answer.blank ? "blank" : "unlike";
    if (unlike) parts.push(made("div", { class: "notice odd" }, made("b", {}, words(kind)), made("p", {}, words(`${kind}_detail`))));
    for (const flag of item.answer.flags) parts.push(made("div", { class: "notice odd" }, flag));
    parts.push(...item.answer.targets.map((target) => block(item, target)));
    if (!unlike && item.answer.targets.some((target) => target.members.length && target.kind !== "continuous")) parts.push(made("p", { class: "small error" }, words("error", { error: 100 * item.answer.error })));
    if (!unlike && facts.unchecked) parts.push(made("p", { class: "small" }, words("unchecked")));
    if (item.alike?.length) parts.push(alike(item));
    if (facts.pdf) parts.push(sheet(item));
  }
  $("answer").replaceChildren(...parts);
}

// --- the image ------------------------------------------------------------------------------------------------------

function pick(label) {
  state.label = label;
  $("label").value = String(label);
  showAnswer();
  showImage();
}

function usualLabel(item) {
  const all = item.answer.targets.flatMap((target) => target.classes.map((one) => ({ ...one, yes: target.answer === "yes" || target.answer === one.name })));
  const best = all.reduce((a, b) => (b.yes > a.yes || (b.yes === a.yes && b.probability > a.probability) ? b : a));
  return Math.max(facts.labels.indexOf(best.label), 0);
}

function showImage() {
  const item = chosen();
  $("view").hidden = !item || item.state !== "answered" || !item.answer.image;
  document.body.classList.toggle("unseen", Boolean(item) && item.state === "answered" && !item.answer.image);
  if ($("view").hidden) return;
  const key = `${item.id}`;
  if (key !== state.shownKey) {
    state.shownKey = key;
    state.label = usualLabel(item);
    $("label").value = String(state.label);
    viewer.open(item);
    const depth = item.answer.image.shape[0];
    $("slice-field").hidden = depth === 1;
    $("slice-field").firstChild.textContent = `${words(item.answer.image.views === undefined ? "slice" : "image")} `;
    $("plane-field").hidden = depth === 1 || item.answer.image.views !== undefined;
    $("plane").value = "0";
    setSlices(0, Math.floor(depth / 2));
    showAnswer();
  }
  const drawn = item.maps.state === "drawn" ? item.maps.labels[state.label] : null;
  viewer.layers({ label: drawn?.has_evidence ? state.label : null, mask: lesionOf(item), item });
  $("mapped").hidden = !facts.methods.length;
  $("caption").textContent = caption(item, drawn);
  $("scale").textContent = drawn?.has_evidence ? words(drawn.shared ? "scale_shared" : "scale_own", { end: Number(drawn.end.toPrecision(3)), unit: told.units[item.maps.unit] ?? item.maps.unit }) : "";
  $("mask").hidden = !facts.can_segment;
  $("mask").textContent = item.mask.state === "none" ? words("draw_mask") : item.mask.state === "drawing" ? words("drawing") : words("mask");
  $("plain").setAttribute("aria-label", `${words("image")}: ${item.name}`);
  $("overlay").setAttribute("aria-label", $("caption").textContent);
}

function isMaskAsked(item) {
  return $("mask").getAttribute("aria-pressed") === "true" && item.mask.state === "drawn";
}

// The place among the lesions of the label that is shown; null where no mask is asked for, there is none, or it is withheld.
function lesionOf(item) {
  if (!isMaskAsked(item)) return null;
  const place = item.mask.lesions.findIndex((one) => one.target === facts.labels[state.label]);
  const found = item.mask.lesions[place];
  return !found || found.shown !== "yes" || Number(found.n_pixels) === 0 ? null : place;
}

function maskCaption(item) {
  if (!isMaskAsked(item) || lesionOf(item) !== null) return "";
  const found = item.mask.lesions.find((one) => one.target === facts.labels[state.label]);
  return found && found.shown !== "yes" ? words("mask_withheld", { why: told.why[found.shown] }) : words("no_mask");
}

function caption(item, drawn) {
  const note = drawn?.has_evidence ? facts.maps_note : "";
  const said = [mapCaption(item, drawn), note, maskCaption(item)].filter(Boolean);
  return said.length === 1 ? said[0] : said.map((one) => (/[.…。]$/.test(one) ? one : `${one}${language === "zh" ? "。" : "."}`)).join(" ");
}

function mapCaption(item, drawn) {
  const name = called(facts.labels[state.label]);
  if (item.maps.state === "drawing" || item.maps.state === "none") return words("drawing");
  if (item.maps.state === "failed") return words("map_failed");
  // Of what is unlike the training images, or was not better than guessing, a map would point at something.
  if (drawn.why) return words("map_withheld", { name, why: told.why[drawn.why] });
  return drawn.has_evidence ? words("map_of", { name }) : `${words("map_of", { name })}${language === "zh" ? "。" : ". "}${words("no_map")}`;
}

function setSlices(plane, position) {
  const shape = chosen().answer.image.shape;
  $("slice").max = String(shape[plane] - 1);
  $("slice").value = String(position);
  viewer.slice(plane, position);
  const view = chosen().answer.image.views?.[position];
  $("slice-number").textContent = `${view ? `${view}, ` : ""}${position + 1} / ${shape[plane]}`;
}

function showNumbers() {
  const { window: width, level, range } = viewer.windowing();
  $("window").value = String(Math.round((1000 * width) / range[2]));
  $("level").value = String(Math.round((1000 * (level - range[0])) / range[2]));
  const digits = range[2] > 20 ? 0 : 2;
  $("window-number").textContent = width.toFixed(digits);
  $("level-number").textContent = level.toFixed(digits);
}

function show() {
  showList();
  showAnswer();
  showImage();
}

function say(text) {
  const note = made("div", { class: "notice odd", role: "alert" }, text);
  $("list").append(note);
  setTimeout(() => note.remove(), 8000);
}

// --- wiring ---------------------------------------------------------------------------------------------------------

function pressed(id, value) {
  const node = $(id);
  const now = value ?? node.getAttribute("aria-pressed") !== "true";
  node.setAttribute("aria-pressed", String(now));
  return now;
}

function beside(value) {
  const now = pressed("beside", value);
  $("stage").classList.toggle("single", !now);
  $("stage").classList.toggle("double", now);
  viewer.draw();
}

function step(by) {
  const k = state.items.findIndex((item) => item.id === state.chosen) + by;
  if (k >= 0 && k < state.items.length) choose(state.items[k].id);
  document.querySelector("#items [aria-selected=true]")?.scrollIntoView({ block: "nearest" });
}

function wire() {
  facts.labels.forEach((label, k) => $("label").append(made("option", { value: String(k) }, called(label))));
  facts.methods.forEach((method) => $("method").append(made("option", { value: method }, method)));
  $("label").closest("label").hidden = facts.labels.length < 2;
  $("method-field").hidden = facts.methods.length < 2;
  $("label").addEventListener("change", () => pick(Number($("label").value)));
  $("method").addEventListener("change", async () => {
    const body = JSON.stringify({ method: $("method").value });
    await asked(`/api/items/${state.chosen}/maps`, { method: "POST", body, headers: { "content-type": "application/json" } }).catch((error) => say(error.message));
    look();
  });
  $("case")?.addEventListener("submit", sendCase);
  for (const id of ["files", "folder"]) $(id).addEventListener("change", (event) => { send(event.target.files); event.target.value = ""; });
  for (const name of ["dragover", "dragenter"]) document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    if (facts.form.fields) return;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    send(entries.length ? await filesOf(entries) : event.dataTransfer.files);
  });
  $("clear").addEventListener("click", async () => { await asked("/api/items", { method: "DELETE" }).catch((error) => say(error.message)); state.shownKey = ""; look(); });
  $("opacity").addEventListener("input", () => viewer.opacity(Number($("opacity").value) / 100));
  $("map").addEventListener("click", () => viewer.withMap(pressed("map")));
  $("beside").addEventListener("click", () => beside());
  $("mask").addEventListener("click", async () => {
    if (pressed("mask") && chosen().mask.state !== "drawn") await asked(`/api/items/${state.chosen}/segment`, { method: "POST" }).catch((error) => say(error.message));
    look();
  });
  $("in").addEventListener("click", () => viewer.zoom(1.25));
  $("out").addEventListener("click", () => viewer.zoom(0.8));
  $("fit").addEventListener("click", () => viewer.fit());
  $("reset").addEventListener("click", () => viewer.reset());
  const windowing = () => { const range = viewer.windowing().range; viewer.setWindow((Number($("window").value) * range[2]) / 1000, range[0] + (Number($("level").value) * range[2]) / 1000); };
  $("window").addEventListener("input", windowing);
  $("level").addEventListener("input", windowing);
  $("slice").addEventListener("input", () => setSlices(Number($("plane").value), Number($("slice").value)));
  $("plane").addEventListener("change", () => { const plane = Number($("plane").value); setSlices(plane, Math.floor(chosen().answer.image.shape[plane] / 2)); });
  document.addEventListener("keydown", key);
  window.addEventListener("resize", () => viewer.draw());
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || ["SELECT", "INPUT", "TEXTAREA"].includes(event.target.tagName) || !chosen()) return;
  const turn = (by) => { const slice = $("slice"); if ($("slice-field").hidden) return step(by); setSlices(Number($("plane").value), Math.max(0, Math.min(Number(slice.max), Number(slice.value) + by))); };
  const opacity = (by) => { $("opacity").value = String(Number($("opacity").value) + by); viewer.opacity(Number($("opacity").value) / 100); };
  const acts = {
    ArrowDown: () => step(1), ArrowUp: () => step(-1), ArrowRight: () => turn(1), ArrowLeft: () => turn(-1),
    m: () => $("map").click(), b: () => $("beside").click(), "+": () => viewer.zoom(1.25), "=": () => viewer.zoom(1.25), "-": () => viewer.zoom(0.8), 0: () => viewer.fit(),
    "[": () => opacity(-10), "]": () => opacity(10), w: () => document.querySelector(".target.shown .wrong, .target .wrong")?.click(),
    Escape: () => { state.correcting = ""; showAnswer(); },
  };
  const number = Number(event.key);
  const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key] ?? (number >= 1 && number <= facts.labels.length ? () => pick(number - 1) : null);
  if (act) { event.preventDefault(); act(); }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("theme", name); } catch { /* a browser that keeps nothing */ }
}

let kept = null;
try { kept = localStorage.getItem("theme"); } catch { /* a browser that keeps nothing */ }
theme(kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
wire();
look();
