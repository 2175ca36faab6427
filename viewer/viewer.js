// What is drawn, what the person points at, and what is asked of the server. One payload in (`props.value`, a JSON
// text); one question out (the event 'read'), posted whenever the sentence or what is asked about it changes.

const root = element.querySelector('.unrolled');
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const textbox = () => document.querySelector('#sentence textarea, #sentence input');
const otherbox = () => document.querySelector('#other textarea, #other input');

let view = null; // what is drawn
let size = 0; // the width it was drawn for
const asked = { text: '', other: '', class: null, method: 'ledger', baseline: 'zero', units: [], silenced: [] }; // the newest question
const chosen = { tab: 'hidden', ledger: 'state', shapeOnly: false }; // how it is drawn
const cursor = { hovered: null, pinned: null };
let followers = []; // told of the cursor by every panel
let playing = null, linking = null, spoken = null, wantedToken = null, refused = '';

// ---- the cursor

const hand = {
  follow: (follower) => followers.push(follower),
  hover: (t) => { if (cursor.hovered !== t) { cursor.hovered = t; moved(); } },
  pin: (t) => { cursor.pinned = cursor.pinned === t ? null : t; cursor.hovered = null; moved(); keepLink(); },
};
const here = () => (cursor.hovered === null ? cursor.pinned : cursor.hovered);

function moved() {
  const t = here();
  followers.forEach((follower) => follower(t));
  clearTimeout(spoken);
  spoken = setTimeout(() => speak(t), 200);
}
function speak(t) {
  if (!view || t === null || t >= view.length) { part('spoken').textContent = ''; return; }
  const says = view.models.map(({ title, trace }) => {
    const row = trace.probabilities[t], best = row.indexOf(Math.max(...row));
    return `${title}: ${view.labels[best]} ${percent(row[best])}, gradient ${number(trace.gradient_norm[t], 2)}`;
  });
  part('spoken').textContent = `Word ${t + 1} of ${view.length}, ${view.models[0].trace.tokens[t].text}. ${says.join('. ')}.`;
}
function step(by) {
  if (!view || !view.length) return;
  const from = here();
  const to = from === null ? (by > 0 ? 0 : view.length - 1) : Math.max(0, Math.min(view.length - 1, from + by));
  cursor.pinned = to; cursor.hovered = null;
  moved(); keepLink();
}
function play() {
  if (playing !== null) { stop(); return; }
  if (!view || !view.length) return;
  if (here() === null || here() === view.length - 1) { cursor.pinned = 0; cursor.hovered = null; moved(); }
  playing = setInterval(() => { step(1); if (here() >= view.length - 1) stop(); }, 350);
  showPlaying();
}
function stop() { clearInterval(playing); playing = null; showPlaying(); }
function showPlaying() {
  const button = root.querySelector('[data-act="play"]');
  if (button) button.textContent = playing === null ? '▶ Play' : '■ Stop';
}
root.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('select, input, textarea')) return;
  const onButton = event.target.closest('button, a') !== null;
  const act = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), Escape: () => { stop(); cursor.pinned = null; cursor.hovered = null; moved(); keepLink(); } }[event.key]
    || (onButton ? null : { ' ': play, Enter: () => { if (here() !== null) { cursor.pinned = here(); moved(); keepLink(); } } }[event.key]);
  if (!act) return;
  event.preventDefault();
  act();
});

// ---- the link

// The link holds what was asked last, answered or not, so that a page which loads anew asks it again. Browsers make each
// change of the address slow, on purpose, and take no address without end.
const LINK_AFTER = 250, LONGEST_LINK = 30000; // milliseconds, characters
function keepLink() {
  clearTimeout(linking);
  linking = setTimeout(writeLink, LINK_AFTER);
}
function writeLink() {
  clearTimeout(linking);
  if (root.isConnected) history.replaceState(history.state, '', linkFits() ? linkOf() : location.pathname + location.search);
}
const linkFits = () => linkOf().length <= LONGEST_LINK;
function linkOf() {
  const parts = [`text=${encodeURIComponent(asked.text.replace(/\p{Surrogate}/gu, '\ufffd'))}`];
  if (asked.class !== null) parts.push(`class=${encodeURIComponent(asked.class)}`);
  if (asked.other) parts.push(`other=${encodeURIComponent(asked.other.replace(/\p{Surrogate}/gu, '\ufffd'))}`);
  if (cursor.pinned !== null) parts.push(`token=${cursor.pinned + 1}`);
  if (asked.units.length) parts.push(`units=${asked.units.map((unit) => (unit === null ? '' : unit)).join('.')}`);
  if (asked.silenced.some((unit) => unit !== null)) parts.push(`silenced=${asked.silenced.map((unit) => (unit === null ? '' : unit)).join('.')}`);
  return `#${parts.join('&')}`;
}
function readLink() {
  const found = new URLSearchParams(location.hash.slice(1).replace(/\+/g, '%2B'));
  if (!found.has('text')) return null;
  const token = Number(found.get('token'));
  const units = (name) => (found.get(name) ? found.get(name).split('.').map((unit) => (/^\d{1,4}$/.test(unit) ? Number(unit) : null)) : []);
  return { text: found.get('text'), other: found.get('other') || '', class: found.get('class'), token: Number.isInteger(token) && token > 0 ? token - 1 : null, units: units('units'), silenced: units('silenced') };
}
function follow(link) {
  Object.assign(asked, { class: link.class, units: link.units, silenced: link.silenced });
  wantedToken = link.token;
  setText(link.text, link.other);
}

// ---- asking

const questions = asking(root, 6000, (number) => {
  const { text, other, method, baseline, units, silenced } = asked;
  trigger('read', { number, text, other, target: asked.class, method, baseline, units, silenced });
}, () => say(`No answer yet: the server is busy or out of reach.${view ? ' What is shown belongs to the sentence before.' : ''}`));
function ask(text) {
  asked.text = text;
  root.classList.add('stale');
  keepLink();
  questions.ask();
}
// The text boxes are part of the page, not of the viewer: they may come a little later.
function setText(text, other = '') {
  const box = textbox(), second = otherbox();
  if (!box || !second) { if (root.isConnected) setTimeout(() => setText(text, other), 20); return; }
  if (second.value !== other) { second.value = asked.other = other; second.dispatchEvent(new Event('input', { bubbles: true })); }
  box.value = text;
  box.dispatchEvent(new Event('input', { bubbles: true }));
}
// A text box that has just come is set to its first value once more by Gradio, sometimes after a link was followed: what
// is drawn and what the boxes say must be the same.
function keepText() {
  const box = textbox(), second = otherbox();
  if (!box || !second || (box.value === asked.text && second.value === asked.other)) return;
  wantedToken = cursor.pinned;
  setText(asked.text, asked.other);
}
const onInput = (event) => {
  if (!root.isConnected) { document.removeEventListener('input', onInput); return; }
  if (event.target === otherbox()) {
    asked.other = event.target.value;
    ask(asked.text);
    return;
  }
  if (event.target !== textbox()) return;
  const text = event.target.value;
  part('examples').querySelectorAll('.example').forEach((button, index) => {
    const { text: one, other } = props.examples[index];
    button.setAttribute('aria-pressed', String(text === one || text === other));
  });
  cursor.pinned = wantedToken;
  wantedToken = null;
  ask(text);
};
document.addEventListener('input', onInput);
function say(text) { part('status').textContent = text; }

// ---- what is drawn

function understand(payload) {
  const models = payload.models.map((model) => {
    const { trace } = model;
    const matrices = { hidden: trace.hidden, cell: trace.cell, ...trace.gates };
    const states = Object.fromEntries(Object.entries(matrices).filter(([, matrix]) => matrix).map(([name, matrix]) => [name, decode(matrix)]));
    return { ...model, states };
  });
  const { trace } = models[0], length = trace.tokens.length;
  const softmax = (logits) => { const most = Math.max(...logits), powers = logits.map((z) => Math.exp(z - most)), sum = powers.reduce((a, b) => a + b, 0); return powers.map((p) => p / sum); };
  const finals = new Map(models.map((model) => [model, length ? model.trace.probabilities[length - 1] : softmax(model.trace.logits)]));
  const strongest = payload.labels.map((_, index) => [Math.max(...models.flatMap((model) => [finals.get(model)[index], ...model.trace.probabilities.map((row) => row[index])])), index]);
  // Beyond eight classes there are no more hues: the eight that ever came closest are shown, in label order.
  const shown = strongest.sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, 8).map(([, index]) => index).sort((a, b) => a - b);
  const made = {
    ...payload, models, length, shown, final: (model) => finals.get(model),
    scores: (side) => (payload.evidence ? payload.evidence[side].scores : models[side].trace.contribution.map((row) => row[payload.target])),
    completeness: (side) => (payload.evidence && payload.evidence[side].error !== null && payload.evidence[side].error !== undefined ? payload.evidence[side].error : null),
    evidenceLimit: () => largest(models.flatMap((_, side) => made.scores(side))) || 1,
  };
  return made;
}

function receive() {
  if (!props.value) return;
  const payload = JSON.parse(props.value);
  if (!questions.newest(payload.number)) return;
  if (questions.asked()) keepText();
  if (payload.error && (asked.class !== drawnClass() || asked.units.length || asked.silenced.length)) {
    refused = payload.error; // a class or unit that a link names and this page does not have
    Object.assign(asked, { class: drawnClass(), units: [], silenced: [] });
    ask(asked.text);
    return;
  }
  say(payload.error || refused);
  refused = '';
  root.classList.toggle('stale', Boolean(payload.error));
  if (payload.error) return;
  const same = view && view.text === payload.text;
  stop();
  view = understand(payload);
  if (!same && cursor.pinned !== null && cursor.pinned >= view.length) cursor.pinned = null;
  cursor.hovered = null;
  asked.text = payload.text;
  asked.class = drawnClass();
  draw();
  if (questions.asked()) keepLink();
}

const units = {
  get pinned() { return asked.units; },
  pin: (rank) => {
    asked.units = rank === null ? [] : view.models.map(({ trace }) => (rank < trace.units ? trace.order[rank] : null));
    if (rank === null) asked.silenced = [];
    draw();
    ask(asked.text);
  },
  silence: (side, unit) => {
    asked.silenced = view.models.map((_, at) => (at === side ? unit : asked.silenced[at] === undefined ? null : asked.silenced[at]));
    ask(asked.text);
  },
};
const drawnClass = () => (view && view.chosen ? view.labels[view.target] : null);

function choose(change, focus) {
  Object.assign(chosen, change);
  draw();
  if (focus) root.querySelector('[role="tab"][aria-selected="true"]').focus();
}

function draw() {
  if (!view) return;
  const panels = part('panels');
  const within = panels.contains(document.activeElement) ? document.activeElement.dataset : {};
  size = Math.max(280, panels.clientWidth);
  const whole = size - 34, narrow = size < 720 || view.models.length === 1;
  const half = narrow ? whole : Math.floor((whole - 24) / 2);
  view.colours = palette(root);
  view.shapeOnly = chosen.shapeOnly;
  followers = [];
  root.classList.toggle('narrow', narrow);
  panels.replaceChildren(...[verdicts(view, hand), controls(), strip(view, hand), comparison(view, hand, half, save), running(view, hand, whole), states(view, hand, half, chosen, choose, units),
    trajectory(view, hand, half), lifeline(view, hand, whole), ledger(view, hand, half, chosen, choose), inspector(view, hand)].filter(Boolean));
  followers.forEach((follower) => follower(here()));
  showPlaying();
  const again = within.act ? `[data-act="${within.act}"]` : within.tab ? `[data-tab="${within.tab}"]` : null;
  if (again && root.querySelector(again)) root.querySelector(again).focus({ preventScroll: true });
}

function controls() {
  const select = (act, label, options, value, change) => html('label', { class: 'control' }, `${label} `,
    html('select', { 'data-act': act, on: { change: (event) => change(event.target.value) } }, options.map(([key, text]) => html('option', { value: key, selected: key === value }, text))));
  const button = (act, text, click) => html('button', { type: 'button', 'data-act': act, class: 'act', on: { click } }, text);
  const again = () => ask(asked.text);
  const classes = [['', 'the right-hand verdict'], ...view.labels.map((label, index) => [label, `${letter(index)} ${label}`])];
  if (view.models.length === 1) classes[0][1] = 'the verdict';
  return html('div', { class: 'controls', 'data-panel': 'controls' },
    select('class', 'Class', classes, view.chosen ? view.labels[view.target] : '', (value) => { asked.class = value || null; again(); }),
    html('span', { class: 'about-class' }, badge(view.target), ` gradients, ledger and evidence are for ${view.labels[view.target]}`),
    select('method', 'Evidence', Object.entries(EVIDENCE).map(([name, [text]]) => [name, text]), view.method, (value) => { asked.method = value; again(); }),
    view.models.some((model) => model.silenced !== null) ? html('span', { class: 'shape-only' }, 'a unit is silenced: evidence is the ledger') : null,
    view.method === 'integrated gradients' ? select('baseline', 'from', [['zero', 'zero vectors'], ['unknown', '<unk>'], ['mean', 'the mean word']], view.baseline, (value) => { asked.baseline = value; again(); }) : null,
    html('label', { class: 'control' }, html('input', { type: 'checkbox', 'data-act': 'shape', checked: chosen.shapeOnly, on: { change: (event) => choose({ shapeOnly: event.target.checked }) } }), ' shape only'),
    chosen.shapeOnly ? html('span', { class: 'shape-only' }, 'each network on its own scale: compare shapes, not sizes') : null,
    html('span', { class: 'acts' }, button('play', '▶ Play', play), button('link', 'Copy link', copyLink), button('picture', 'Save picture', savePicture), button('trace', 'Save trace', saveTrace)));
}

// ---- taking it away

async function copyLink() {
  writeLink();
  if (!linkFits()) { say('The text is too long for a link.'); return; }
  try {
    await navigator.clipboard.writeText(location.href);
    say('The link is copied.');
  } catch (error) { // no permission, or a page without TLS: the address bar has the same link
    say('The browser does not let a page copy here: the link stands in the address bar.');
  }
}
function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = html('a', { href: address, download: name });
  root.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
function saveTrace() {
  const models = view.models.map(({ states, trace, ...model }) => {
    const plain = (name) => (states[name] ? Array.from({ length: states[name].rows }, (_, t) => Array.from(states[name].row(t), (value) => Number(value.toPrecision(4)))) : null);
    return { ...model, trace: { ...trace, hidden: plain('hidden'), cell: plain('cell'), gates: Object.fromEntries(Object.keys(trace.gates).map((name) => [name, plain(name)])) } };
  });
  const { text, other, labels, target, method, baseline, evidence, comparison } = view;
  save('unrolled-trace.json', 'application/json', JSON.stringify({ text, other, labels, target, method, baseline, evidence, comparison, models }, null, 1));
}
// All charts below one another in one SVG, each under its panel's title, with the styles that it has on the page.
function savePicture() {
  const kept = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-opacity', 'fill-opacity', 'font-size', 'font-family', 'font-weight', 'text-decoration', 'visibility', 'image-rendering'];
  const page = getComputedStyle(root), ink = page.color, paper = page.getPropertyValue('--page').trim();
  const picture = svg('svg', { xmlns: SVG, 'font-family': 'sans-serif' });
  let y = 30;
  const put = (text, attributes) => picture.append(svg('text', { x: 12, y, fill: ink, ...attributes }, text));
  const answers = view.models.map((model) => `${model.title}: ${view.labels[model.trace.predicted]} ${percent(view.final(model)[model.trace.predicted])}`).join('   ');
  put(view.text.length > 140 ? `${view.text.slice(0, 140)}…` : view.text, { 'font-size': 16, 'font-weight': 600 });
  y += 22; put(answers, { 'font-size': 13 });
  let widest = 640;
  for (const section of part('panels').querySelectorAll('.panel')) {
    const charts = [...section.querySelectorAll('svg.chart')];
    if (!charts.length) continue;
    y += 30; put(section.querySelector('h2').textContent, { 'font-size': 14, 'font-weight': 600 });
    y += 10;
    const left = part('panels').getBoundingClientRect().left, boxes = charts.map((chart) => chart.getBoundingClientRect());
    const top = Math.min(...boxes.map((box) => box.top));
    charts.forEach((chart, index) => {
      const copy = chart.cloneNode(true), from = chart.querySelectorAll('*'), to = copy.querySelectorAll('*');
      from.forEach((node, at) => { const style = getComputedStyle(node); kept.forEach((name) => to[at].setAttribute(name, style.getPropertyValue(name))); to[at].removeAttribute('class'); });
      copy.setAttribute('x', boxes[index].left - left + 12); copy.setAttribute('y', y + 16 + boxes[index].top - top);
      const caption = chart.closest('.half') ? chart.closest('.half').querySelector('.who').textContent : chart.closest('.multiple') ? chart.closest('.multiple').querySelector('.multiple-title').textContent : '';
      picture.append(svg('text', { x: boxes[index].left - left + 12, y: y + 11 + boxes[index].top - top, 'font-size': 12, fill: ink }, caption), copy);
      widest = Math.max(widest, boxes[index].right - left + 24);
    });
    y += 20 + Math.max(...boxes.map((box) => box.bottom)) - top;
  }
  picture.setAttribute('width', widest); picture.setAttribute('height', y + 20);
  picture.prepend(svg('rect', { width: '100%', height: '100%', fill: paper }));
  save('unrolled.svg', 'image/svg+xml', new XMLSerializer().serializeToString(picture));
}

// ---- examples

(props.examples || []).forEach((example, index) => {
  part('examples').append(html('button', { type: 'button', class: 'example', 'data-example': index, on: { click: () => {
    Object.assign(asked, { class: null, units: [], silenced: [] });
    cursor.pinned = null;
    setText(example.other && textbox().value === example.text ? example.other : example.text);
  } } }, html('strong', {}, `${index + 1} ${example.title}`), example.look ? html('span', {}, example.look) : null));
});

// ---- start

watch('value', receive);
const link = readLink();
if (link) {
  follow(link);
} else {
  receive();
}
window.addEventListener('hashchange', () => {
  const next = readLink();
  if (!next || !root.isConnected) return;
  clearTimeout(linking);
  follow(next);
});
new ResizeObserver(() => {
  const width = part('panels').clientWidth; // 0 on a tab that is not shown
  if (view && width && Math.abs(Math.max(280, width) - size) > 4) draw();
}).observe(part('panels'));
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] }); // the theme
