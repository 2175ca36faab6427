// Drawing: elements, numbers, colours, scales and the parts that several panels share. Text enters the page through
// textContent alone. Shapes: T tokens, H units, C classes.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === 'style') Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// ---- asking

// One question at a time: what is asked meanwhile waits, and of several the newest is sent. One without an answer holds
// up the next for `patience` milliseconds only and is asked again after as long, then after twice as long each time: a
// lost connection, or a server with a full waiting line, answers nothing.
function asking(root, patience, send, late) {
  let newest = 0, underWay = 0, waiting = null, pause = patience;
  function post() {
    if (!root.isConnected) return;
    underWay = newest;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      late();
      if (newest > underWay) { post(); return; }
      underWay = 0;
      waiting = setTimeout(post, pause);
      pause = Math.min(2 * pause, 60000);
    }, patience);
    send(newest);
  }
  return {
    ask() { newest += 1; if (!underWay) post(); },
    asked: () => newest > 0,
    // Whether an answer is to the newest question.
    newest(answered) {
      if (answered === underWay || answered === newest) { clearTimeout(waiting); underWay = 0; pause = patience; }
      if (answered < newest && !underWay) post();
      return answered >= newest;
    },
  };
}

// ---- numbers

function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return 'n/a';
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) return value.toExponential(1).replace('-', '−');
  return String(Number(value.toPrecision(digits))).replace('-', '−');
}
const percent = (share) => (share > 0.9995 && share < 1 ? '> 99.9 %' : `${(100 * share).toFixed(1)} %`);
const signed = (value) => (value > 0 ? '+' : '') + number(value);
const letter = (index) => (index < 26 ? String.fromCharCode(65 + index) : `${index + 1}`);
const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// A matrix of the payload: {shape: [T, H], scale, data: base64 of int8, row by row}; -128 is no number.
function decode(matrix) {
  const bytes = Int8Array.from(atob(matrix.data), (character) => character.charCodeAt(0));
  const [rows, columns] = matrix.shape;
  const values = Float32Array.from(bytes, (byte) => (byte === -128 ? NaN : byte * matrix.scale));
  return { rows, columns, at: (t, unit) => values[t * columns + unit], row: (t) => values.subarray(t * columns, (t + 1) * columns), values };
}

// ---- colours

function mix(from, to, share) {
  return from.map((channel, index) => Math.round(channel + (to[index] - channel) * share));
}
function rgb(text) {
  const digits = text.trim().replace('#', '');
  return [0, 2, 4].map((index) => parseInt(digits.slice(index, index + 2), 16));
}
// The palette as the style sheet has it for the present theme; CSS decides on colours, not this script.
function palette(root) {
  const style = getComputedStyle(root);
  const take = (name) => rgb(style.getPropertyValue(name));
  const [low, middle, high] = ['--low', '--middle', '--high'].map(take);
  const [empty, full] = ['--gate-0', '--gate-1'].map(take);
  const [tintLow, tintHigh, page] = ['--tint-low', '--tint-high', '--page'].map(take);
  return {
    signed: (share) => (Number.isFinite(share) ? mix(middle, share < 0 ? low : high, Math.min(1, Math.abs(share))) : [128, 128, 128]),
    gate: (share) => (Number.isFinite(share) ? mix(empty, full, Math.max(0, Math.min(1, share))) : [128, 128, 128]),
    tint: (share) => `rgb(${mix(page, share < 0 ? tintLow : tintHigh, Math.min(1, Math.abs(share) || 0)).join(' ')})`,
  };
}
const classColour = (index) => (index < 8 ? `var(--class-${index})` : 'var(--class-other)');
const modelColour = (side) => `var(--model-${side})`;
const badge = (index) => html('span', { class: 'badge', style: { background: classColour(index) } }, letter(index));

// ---- columns: the same for every panel of one half, so that the eye drops straight down

const LEFT = 46, RIGHT = 46;
function columns(width, count) {
  const step = Math.min(44, (width - LEFT - RIGHT) / Math.max(1, count));
  return { step, left: LEFT, right: LEFT + step * count, x: (t) => LEFT + step * t, middle: (t) => LEFT + step * (t + 0.5) };
}

function picture(width, height, label, ...children) {
  return svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label, class: 'chart' }, ...children);
}

// The cursor's column, and what moves it. `at` tells which token a pointer is over.
function cursorLayer(scale, top, bottom, count, hand, onPick) {
  const mark = svg('rect', { class: 'cursor', y: top, height: bottom - top, width: Math.max(2, scale.step), x: scale.left, visibility: 'hidden' });
  const at = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = (event.clientX - box.left) / Math.max(1, box.width);
    return Math.max(0, Math.min(count - 1, Math.floor(share * count)));
  };
  const area = svg('rect', {
    class: 'area', x: scale.left, y: top, width: Math.max(1, scale.step * count), height: bottom - top, fill: 'transparent',
    on: {
      pointermove: (event) => hand.hover(at(event)),
      pointerleave: () => hand.hover(null),
      click: (event) => { hand.pin(at(event)); if (onPick) onPick(event); },
    },
  });
  hand.follow((t) => {
    mark.setAttribute('visibility', t === null ? 'hidden' : 'visible');
    if (t !== null) mark.setAttribute('x', scale.left + scale.step * t);
  });
  return [mark, area];
}

const labelled = (scale) => scale.step >= 9; // narrower columns have no room for words
const labelHeight = (scale) => (labelled(scale) ? 62 : 6);
function tokenLabels(scale, tokens, top) {
  if (!labelled(scale)) return [];
  return tokens.map((token, t) => {
    const text = token.text.length > 11 ? `${token.text.slice(0, 10)}…` : token.text;
    return svg('text', { class: token.known ? 'token-label' : 'token-label unknown', transform: `translate(${scale.middle(t) + 3} ${top + 6}) rotate(-55)`, 'text-anchor': 'end' }, text);
  });
}

function path(points) {
  let text = '', pen = 'M';
  for (const [x, y] of points) {
    if (!Number.isFinite(y)) { pen = 'M'; continue; }
    text += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = 'L';
  }
  return text;
}
function line(points, side, extra) {
  return svg('path', { d: path(points), class: `line model-${side}`, ...extra });
}

function axis(values, y, left, right, show) {
  return values.map((value) => svg('g', {},
    svg('line', { class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value) }),
    svg('text', { class: 'tick', x: left - 5, y: y(value) + 3.5, 'text-anchor': 'end' }, show(value))));
}

// A bar of the colours with the numbers at its ends.
function legend(colour, ends, title) {
  const stops = Array.from({ length: 11 }, (_, index) => `rgb(${colour(index / 10).join(' ')})`);
  return html('div', { class: 'legend' }, html('span', {}, title), html('span', { class: 'scale' },
    html('span', { class: 'number' }, ends[0]),
    html('span', { class: 'ramp', style: { background: `linear-gradient(90deg, ${stops.join(', ')})` } }),
    html('span', { class: 'number' }, ends[1])));
}

// T x H values as a picture of one pixel a cell, rows in the given order of units.
function heatImage(matrix, order, colour) {
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, matrix.rows);
  canvas.height = order.length;
  const context = canvas.getContext('2d');
  const image = context.createImageData(canvas.width, canvas.height);
  order.forEach((unit, row) => {
    for (let t = 0; t < matrix.rows; t += 1) {
      const at = 4 * (row * canvas.width + t);
      const [red, green, blue] = colour(matrix.at(t, unit));
      image.data[at] = red; image.data[at + 1] = green; image.data[at + 2] = blue; image.data[at + 3] = 255;
    }
  });
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}
