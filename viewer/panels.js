// The panels, from top to bottom. Each is a function of what is drawn (`view`) and of the hand that holds the cursor
// (`hand`), and returns an element. `size` is the width of a half, or of the whole row.

const EVIDENCE = {
  ledger: ['ledger', 'what each step changed in the logit: W (h_t − h_t₋₁), exact'],
  'integrated gradients': ['integrated gradients', 'the gradient summed on the way from a baseline to the words'],
  deletion: ['deletion', 'how much the logit falls when the word is left out'],
  replacement: ['replacement', 'how much the logit falls when the word becomes <unk>'],
  'gradient × input': ['gradient × input', 'the gradient times the word vector: a first-order guess'],
};

function panel(name, title, note, ...children) {
  const id = `unrolled-${name}`;
  return html('section', { class: `panel ${name}`, 'data-panel': name, 'aria-labelledby': id },
    html('h2', { id }, title), html('p', { class: 'note' }, note), ...children);
}
function halves(view, draw) {
  return html('div', { class: `halves of-${view.models.length}` }, view.models.map((model, side) =>
    html('div', { class: `half side-${side}`, 'data-side': side },
      html('div', { class: `who model-${side}` }, model.title), draw(model, side))));
}
// A change of a probability, in percentage points.
const byPoints = (change) => `${change > 0 ? '+' : change < 0 ? '−' : '±'}${Math.abs(100 * change).toFixed(1)}`;
const nothing = () => html('p', { class: 'nothing' }, 'There is nothing to read: the verdict is the bias alone.');

// ---- 1 verdicts

function verdicts(view, hand) {
  const answers = view.models.map((model) => model.trace.predicted);
  const differ = answers.length > 1 && answers[0] !== answers[1];
  const body = halves(view, (model) => {
    const { trace } = model;
    const last = view.final(model);
    const settled = trace.settled === null ? 'nothing was read'
      : ['settled at ', html('bdi', { class: 'word' }, trace.tokens[trace.settled].text), ` (${trace.settled + 1} of ${trace.tokens.length})`];
    return html('div', { class: 'verdict' },
      model.before ? html('p', { class: 'without' }, `Without unit ${model.silenced}. With all units: `, badge(model.before.predicted), ` ${view.labels[model.before.predicted]} ${percent(model.before.final[model.before.predicted])}.`) : null,
      html('p', { class: 'answer' }, badge(trace.predicted), ' ', html('strong', {}, view.labels[trace.predicted]), ` ${percent(last[trace.predicted])}`,
        html('span', { class: 'settled' }, settled)),
      html('div', { class: 'bars' }, view.shown.map((index) => html('div', { class: 'bar', title: `${view.labels[index]}: ${percent(last[index])}` },
        badge(index), html('span', { class: 'name' }, view.labels[index]),
        html('span', { class: 'track' }, html('span', { class: 'value', style: { width: `${100 * last[index]}%`, background: classColour(index) } })),
        html('span', { class: 'number' }, percent(last[index]),
          model.before ? html('span', { class: 'moved' }, ` ${byPoints(last[index] - model.before.final[index])}`) : null)))),
      html('p', { class: 'about' }, `${model.source} · test accuracy ${model.accuracy} · ${model.parameters.toLocaleString('en')} parameters`));
  });
  const note = 'Probabilities after the last word (softmax of the logits). They are the network’s confidence, which is no promise of being right.';
  const mark = differ ? html('p', { class: 'disagree', role: 'note' }, '≠ The two disagree.') : null;
  const left = view.labels.length - view.shown.length;
  const rest = left ? html('p', { class: 'about' }, `${view.shown.length} of ${view.labels.length} classes are drawn: those that came closest after any word.`) : null;
  return panel('verdicts', 'Verdict', note, mark, body, rest);
}

// ---- 2 token strip

function strip(view, hand) {
  const limit = view.evidenceLimit();
  const body = halves(view, (model, side) => {
    const scores = view.scores(side);
    const scale = view.shapeOnly ? largest(scores) : limit;
    const words = model.trace.tokens.map((token, t) => {
      const hint = token.known ? `${token.text}: ${signed(scores[t])}`
        : `typed “${token.source}”, unknown: the network reads <unk>; ${signed(scores[t])}`;
      return html('bdi', { class: token.known ? 'token' : 'token unknown', 'data-t': t, title: hint, style: { background: view.colours.tint(scale ? scores[t] / scale : 0) } }, token.text);
    });
    const error = view.completeness(side);
    return html('div', {},
      words.length ? html('p', { class: 'tokens' }, words.flatMap((word) => [word, ' '])) : nothing(),
      model.trace.truncated ? html('p', { class: 'cut' }, `${model.trace.truncated.toLocaleString('en')} more tokens were cut off: the first ${model.trace.tokens.length} are read.`) : null,
      error === null ? null : html('p', { class: `completeness ${error > 0.05 ? 'amber' : 'fine'}` }, `completeness error ${percent(error)}${error > 0.05 ? ': above 5 %, read with care' : ''}`));
  });
  body.addEventListener('pointermove', (event) => { const word = event.target.closest('[data-t]'); hand.hover(word ? Number(word.dataset.t) : null); });
  body.addEventListener('pointerleave', () => hand.hover(null));
  body.addEventListener('click', (event) => { const word = event.target.closest('[data-t]'); if (word) hand.pin(Number(word.dataset.t)); });
  const words = [...body.querySelectorAll('[data-t]')];
  hand.follow((t) => words.forEach((word) => word.classList.toggle('here', t !== null && Number(word.dataset.t) === t)));
  const tint = legend((share) => rgbOf(view.colours.tint(2 * share - 1)), view.shapeOnly ? ['least', 'most'] : [number(-limit), signed(limit)],
    `evidence for ${letter(view.target)} ${view.labels[view.target]}, in logits: ${EVIDENCE[view.method][1]}`);
  const note = 'The words as the networks see them, tinted by evidence; unknown words are underlined (both read the same <unk> for each). Evidence describes this network on this sentence: it does not say what the words mean.';
  return panel('strip', 'Words and evidence', note, tint, body);
}
const rgbOf = (text) => text.match(/\d+/g).map(Number);

// ---- 3 running verdict

function running(view, hand, size) {
  const count = view.length;
  const note = 'The probability of each class if the sentence stopped here. An early verdict is a probe: the readout was trained on final states only. ▼ marks where a verdict settles.';
  if (!count) return panel('running', 'Running verdict', note, nothing());
  const across = size < 560 ? 2 : Math.min(4, view.shown.length);
  const width = Math.floor((size - 12 * (across - 1)) / across), height = 128, top = 22, bottom = height - 10;
  const y = (p) => bottom - p * (bottom - top);
  const grid = html('div', { class: 'multiples', style: { gridTemplateColumns: `repeat(${across}, 1fr)` } }, view.shown.map((index) => {
    const scale = { step: (width - 40) / count, left: 34 };
    const x = (t) => scale.left + scale.step * (t + 0.5);
    const marks = view.models.map(({ trace }, side) => (trace.settled !== null && trace.predicted === index
      ? svg('text', { class: `settle model-${side}`, x: x(trace.settled), y: y(trace.probabilities[trace.settled][index]) - 5, 'text-anchor': 'middle' }, '▼') : null));
    const label = view.models.map((model) => `${model.title} ends at ${percent(view.final(model)[index])}`).join(', ');
    return html('div', { class: index === view.target ? 'multiple target' : 'multiple' }, html('div', { class: 'multiple-title' }, badge(index), ' ', view.labels[index]),
      picture(width, height, `${view.labels[index]} after each word: ${label}`,
        axis([0, 0.5, 1], y, scale.left, scale.left + scale.step * count, (p) => `${100 * p}`),
        view.models.map(({ before }, side) => (before ? line(before.probabilities.map((row, t) => [x(t), y(row[index])]), side, { 'data-line': 'with all units', 'stroke-opacity': 0.35 }) : null)),
        view.models.map(({ trace }, side) => line(trace.probabilities.map((row, t) => [x(t), y(row[index])]), side)),
        view.models.map(({ trace }, side) => (count === 1 ? svg('circle', { class: `dot model-${side}`, cx: x(0), cy: y(trace.probabilities[0][index]), r: 3 }) : null)),
        marks, cursorLayer(scale, top, bottom, count, hand)));
  }));
  const pale = view.models.some((model) => model.before) ? '; pale: with all units' : '';
  return panel('running', 'Running verdict', note, key(view, `probability in %, word by word${pale}`), grid);
}
function key(view, text) {
  return html('div', { class: 'legend' }, view.models.map((model, side) => html('span', { class: 'key' }, svg('svg', { width: 26, height: 10, 'aria-hidden': 'true' },
    svg('path', { d: 'M1 5H25', class: `line model-${side}` })), html('span', { class: `model-${side}` }, model.title))), html('span', {}, text));
}

// ---- 4 hidden state

const STATE_NOTES = {
  hidden: ['hidden state h_t', 'Every unit’s output after each word, from −1 to 1.'],
  cell: ['cell state c_t', 'What the LSTM stores; not bounded, so its scale is its own largest value.'],
  input: ['input gate', 'Share of the candidate that is written: 0 nothing, 1 all.'],
  forget: ['forget gate', 'Share of the cell that is kept from the word before: 0 nothing, 1 all.'],
  candidate: ['candidate', 'What could be written, from −1 to 1.'],
  output: ['output gate', 'Share of the cell that is shown as h_t: 0 nothing, 1 all.'],
  reset: ['reset gate', 'How much of the old state the candidate sees: 0 nothing, 1 all.'],
  update: ['update gate', 'Share of the old state that is kept: 0 nothing, 1 all.'],
};

function states(view, hand, size, chosen, choose, units) {
  const names = ['hidden', 'cell', 'input', 'forget', 'candidate', 'output', 'reset', 'update']
    .filter((name) => view.models.some((model) => model.states[name]));
  const name = names.includes(chosen.tab) ? chosen.tab : 'hidden';
  const gate = ['input', 'forget', 'output', 'reset', 'update'].includes(name);
  const limits = view.models.map((model) => (!model.states[name] ? 0 : name === 'cell' ? largest(model.states[name].values) || 1 : 1));
  const limit = view.shapeOnly && !gate ? null : Math.max(...limits);
  const tabs = html('div', { class: 'tabs', role: 'tablist', 'aria-label': 'State or gate' }, names.map((each) => html('button', {
    type: 'button', role: 'tab', 'aria-selected': String(each === name), tabindex: each === name ? 0 : -1, class: 'tab', 'data-tab': each,
    on: { click: () => choose({ tab: each }), keydown: (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      event.preventDefault(); event.stopPropagation();
      choose({ tab: names[(names.indexOf(each) + move + names.length) % names.length] }, true);
    } } }, STATE_NOTES[each][0])));
  const body = halves(view, (model, side) => {
    const matrix = model.states[name];
    if (!matrix) return html('p', { class: 'nothing' }, `${model.cellName} has no ${STATE_NOTES[name][0]}.`);
    if (!view.length) return nothing();
    const most = limit === null ? largest(matrix.values) || 1 : limit;
    const colour = gate ? view.colours.gate : (value) => view.colours.signed(value / most);
    return heat(view, model, side, matrix, colour, gate ? [0, 1] : [-most, most], hand, size, units, name);
  });
  const ends = gate ? ['0', '1'] : limit === null ? ['least', 'most'] : [number(-limit), signed(limit)];
  const ramp = legend(gate ? view.colours.gate : (share) => view.colours.signed(2 * share - 1), ends, STATE_NOTES[name][0]);
  const note = `${STATE_NOTES[name][1]} Units from top to bottom by |W[${letter(view.target)},u] · h_T[u]|, their say in the verdict; a unit’s number in one network has nothing to do with the same number in the other. Click a row to pin its unit.`;
  return panel('states', 'Inside, unit by unit', note, tabs, view.length ? unitPicker(view, units) : null, ramp, body, unitPages(view, units));
}

// `units` holds which unit of each network is pinned (`pinned`, null for none) and what can be done with it.
function unitPicker(view, units) {
  const most = Math.max(...view.models.map((model) => model.trace.units));
  const named = (each) => view.models.map((model, side) => [model.title, each(model, side)]).filter(([, unit]) => unit !== null && unit !== undefined).map(([title, unit]) => `${title} unit ${unit}`).join(', ');
  const rank = Array.from({ length: most }, (_, at) => at).find((at) => units.pinned.length && view.models.every((model, side) => (at < model.trace.units ? model.trace.order[at] : null) === units.pinned[side]));
  const apart = units.pinned.length > 0 && rank === undefined; // another sentence ranks them differently
  return html('label', { class: 'picker' }, 'Pinned unit ', html('select', { 'data-act': 'unit', on: { change: (event) => units.pin(event.target.value === '' ? null : Number(event.target.value)) } },
    html('option', { value: '', selected: !units.pinned.length }, 'none'),
    apart ? html('option', { value: 'apart', selected: true, disabled: true }, named((model, side) => units.pinned[side])) : null,
    Array.from({ length: most }, (_, at) => html('option', { value: at, selected: at === rank }, `rank ${at + 1}: ${named((model) => model.trace.order[at])}`))));
}

// The page of each pinned unit, and the switch that silences it.
function unitPages(view, units) {
  if (!units.pinned.length || !view.length) return null;
  return html('div', { class: 'unit-pages' }, html('h3', {}, 'The pinned units'), html('p', { class: 'note' }, `${UNIT_NOTE} Silencing holds h_u at 0 at every step, for the next step too: the others go on with what is left, and a network trained without the unit would do otherwise.`),
    halves(view, (model, side) => {
      const unit = units.pinned[side], silent = model.silenced === unit;
      if (unit === null || unit === undefined) return html('p', { class: 'nothing' }, 'No unit of this rank.');
      return html('div', {}, html('p', { class: 'unit-head' }, html('strong', {}, `u${unit}`), ' ',
        html('button', { type: 'button', class: 'act', 'data-act': `silence-${side}`, 'aria-pressed': String(silent), on: { click: () => units.silence(side, silent ? null : unit) } }, silent ? 'Let it speak again' : 'Silence it')),
      silent && model.before ? html('p', { class: 'changed' }, whatChanged(view, model)) : null,
      model.unit && model.unit.unit === unit ? unitPage(view.labels, model.unit) : html('p', { class: 'nothing' }, 'Its page is on its way.'));
    }));
}
function whatChanged(view, model) {
  const { before, trace } = model, now = view.final(model), was = before.predicted;
  let place = 0, most = 0, of = was;
  trace.probabilities.forEach((row, t) => row.forEach((p, index) => { const by = p - before.probabilities[t][index]; if (Math.abs(by) > Math.abs(most)) { most = by; place = t; of = index; } }));
  const verdict = was === trace.predicted ? `The verdict stays ${view.labels[was]}` : `The verdict changes from ${view.labels[was]} to ${view.labels[trace.predicted]}`;
  return `${verdict}; ${view.labels[was]} goes from ${percent(before.final[was])} to ${percent(now[was])}. The largest change at any word: ${byPoints(most)} points of ${view.labels[of]} after “${trace.tokens[place].text}” (${place + 1}).`;
}

function heat(view, model, side, matrix, colour, [low, most], hand, size, units, name) {
  const count = view.length, order = model.trace.order, row = Math.max(4, Math.min(8, Math.floor(280 / order.length)));
  const unit = units.pinned.length ? units.pinned[side] : null, at = order.indexOf(unit), rank = at < 0 ? null : at;
  const scale = columns(size, count), height = row * order.length;
  const pick = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const hit = Math.max(0, Math.min(order.length - 1, Math.floor((event.clientY - box.top) / box.height * order.length)));
    units.pin(hit === rank ? null : hit, side);
  };
  const map = picture(size, height + labelHeight(scale), `${STATE_NOTES[name][0]} of ${model.title}: ${order.length} units by ${count} words`,
    svg('image', { href: heatImage(matrix, order, colour), x: scale.left, y: 0, width: scale.step * count, height, preserveAspectRatio: 'none', class: 'heat' }),
    [0, order.length - 1].map((at) => svg('text', { class: 'tick', x: scale.left - 5, y: row * (at + 0.5) + 4, 'text-anchor': 'end' }, `u${order[at]}`)),
    rank !== null ? [
      svg('rect', { class: 'pinned-unit', x: scale.left, y: rank * row, width: scale.step * count, height: row }),
      svg('text', { class: 'tick strong', x: scale.right + 4, y: row * (rank + 0.5) + 4 }, `u${order[rank]}`)] : null,
    tokenLabels(scale, model.trace.tokens, height), cursorLayer(scale, 0, height, count, hand, pick));
  if (rank === null) return html('div', {}, map);
  const values = Array.from({ length: count }, (_, t) => matrix.at(t, order[rank]));
  const y = (value) => 6 + (most - value) / (most - low) * 78;
  return html('div', {}, map, picture(size, 92, `unit ${order[rank]} of ${model.title} over the words`,
    axis(low < 0 ? [low, 0, most] : [low, most], y, scale.left, scale.right, (value) => number(value, 2)),
    line(values.map((value, t) => [scale.middle(t), y(value)]), side),
    svg('text', { class: 'tick strong', x: scale.right + 4, y: y(values[count - 1]) + 4 }, `u${order[rank]}`),
    cursorLayer(scale, 6, 84, count, hand)));
}

// ---- 5 lifeline

function lifeline(view, hand, size) {
  const count = view.length;
  const note = 'How much the verdict’s logit would still move if a unit’s state were nudged after each word: |∂z/∂h_t|, the cell held. A line that falls to the left is a gradient that vanishes (Pascanu et al. 2013). Small here does not mean that the word did not matter: through an LSTM’s cell it may have gone another way.';
  if (!count) return panel('lifeline', 'Lifeline: what still reaches the verdict', note, nothing());
  const scale = { step: (size - 2 * LEFT) / count, left: LEFT }, x = (t) => scale.left + scale.step * (t + 0.5), right = LEFT + scale.step * count;
  const all = view.models.flatMap(({ trace }) => trace.gradient_norm.filter((value) => value > 0));
  const low = Math.floor(Math.log10(Math.min(...all))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...all))));
  const height = 190, top = 10, bottom = height - 16;
  const y = (value) => (value > 0 ? bottom - (Math.log10(value) - low) / (high - low) * (bottom - top) : NaN);
  const every = Math.max(1, Math.ceil((high - low) / 6));
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => low + index).filter((power) => (power - low) % every === 0).map((power) => 10 ** power);
  const gradient = picture(size, height, `gradient of the logit of ${view.labels[view.target]} after each word, logarithmic`,
    axis(ticks, y, LEFT, right, (value) => `1e${Math.round(Math.log10(value))}`.replace('-', '−')),
    view.models.map(({ trace }, side) => [
      line(trace.gradient_norm.map((value, t) => [x(t), y(value)]), side, { 'data-line': 'gradient' }),
      trace.cell_gradient_norm ? line(trace.cell_gradient_norm.map((value, t) => [x(t), y(value)]), side, { 'data-line': 'cell gradient', 'stroke-opacity': 0.45 }) : null]),
    cursorLayer(scale, top, bottom, count, hand));
  const slopes = view.models.map(({ title, trace }, side) => html('li', { class: 'slope' }, html('span', { class: `model-${side}` }, title),
    trace.slope === null ? ': too few words for a slope.'
      : `: ${number(Math.abs(trace.slope))} decades ${trace.slope >= 0 ? 'lost' : 'gained'} per word going back (a factor of ${number(10 ** Math.abs(trace.slope))})${trace.slope_left_out ? `; ${trace.slope_left_out} zeros left out` : ''}.`,
    trace.cell_gradient_norm ? ' The pale line is |∂z/∂c_t| in total.' : ''));
  return panel('lifeline', 'Lifeline: what still reaches the verdict', note,
    key(view, `|∂z/∂h_t|₂ for ${letter(view.target)} ${view.labels[view.target]}, logit per unit of state, one logarithmic axis`), gradient, html('ul', { class: 'slopes' }, slopes), survival(view, hand, size, scale, x, right));
}

function survival(view, hand, size, scale, x, right) {
  const kept = view.models.map((model, side) => ({ ...model, side })).filter((model) => model.trace.survival);
  if (!kept.length) return null;
  const height = 120, top = 8, bottom = height - 14, y = (share) => bottom - share * (bottom - top);
  const drawn = kept.map(({ trace, side }) => {
    const upper = trace.survival.map((row, t) => [x(t), y(row[2])]), lower = trace.survival.map((row, t) => [x(t), y(row[0])]).reverse();
    return [svg('path', { d: `${path([...upper, ...lower])}Z`, class: `band model-${side}` }), line(trace.survival.map((row, t) => [x(t), y(row[1])]), side)];
  });
  const halfLives = kept.map(({ title, trace }) => `${title}: half-life ${trace.half_life === null ? 'without end' : `${number(trace.half_life)} words`}`).join('; ');
  return html('div', { class: 'survival' }, html('h3', {}, 'Survival in the cell'),
    html('p', { class: 'note' }, `Of what each word wrote, the share that later forget gates leave at the end: median over units, quartiles as a band. ${halfLives}, from the geometric mean gate (Tallec and Ollivier 2018). The direct path through the cell only.`),
    picture(size, height, 'share of what each word wrote that the end still holds', axis([0, 0.5, 1], y, LEFT, right, (share) => number(share)), drawn, cursorLayer(scale, top, bottom, view.length, hand)));
}

// ---- 6 ledger

function ledger(view, hand, size, chosen, choose) {
  const cells = view.models.some((model) => model.trace.cell_contribution);
  const cellView = cells && chosen.ledger === 'cell';
  const note = cellView
    ? 'The LSTM’s logit by what each word wrote into the cell, after the later forget gates (Murdoch and Szlam 2017). Exact in its sum; how it splits between words is this method’s choice.'
    : 'From the bias to the logit: what each step added, W (h_t − h_t₋₁), exact in both networks. A step carries what the network did at that word, with all that it had read before: it is not the word’s meaning alone.';
  const title = 'Ledger: where the logit comes from';
  if (!view.length) return panel('ledger', title, note, nothing());
  const walks = view.models.map(({ trace }) => {
    const parts = ((cellView && trace.cell_contribution) || trace.contribution).map((row) => row[view.target]);
    let sum = trace.bias[view.target];
    return { parts, steps: parts.map((part) => [sum, (sum += part)]), bias: trace.bias[view.target], logit: trace.logits[view.target] };
  });
  const range = (walk) => [Math.min(0, walk.bias, walk.logit, ...walk.steps.flat()), Math.max(0, walk.bias, walk.logit, ...walk.steps.flat())];
  const shared = [Math.min(...walks.map((walk) => range(walk)[0])), Math.max(...walks.map((walk) => range(walk)[1]))];
  const body = halves(view, (model, side) => {
    const walk = walks[side], scale = columns(size, view.length), [low, high] = view.shapeOnly ? range(walk) : shared;
    const height = 170, top = 8, bottom = height - 8, y = (value) => bottom - (value - low) / ((high - low) || 1) * (bottom - top);
    const bar = (from, to, x, width, kind) => svg('rect', { class: `step ${kind}`, x, width: Math.max(1, width), y: Math.min(y(from), y(to)), height: Math.max(1, Math.abs(y(from) - y(to))) });
    const gap = scale.step > 4 ? 1 : 0;
    const says = cellView && !model.trace.cell_contribution ? `${model.cellName} has no cell: its ledger of states.` : null;
    return html('div', {}, says ? html('p', { class: 'note' }, says) : null, picture(size, height + labelHeight(scale), `waterfall from the bias ${number(walk.bias)} to the logit ${number(walk.logit)} of ${view.labels[view.target]}, ${model.title}`,
      axis([low, 0, high].filter((value, index, all) => all.indexOf(value) === index && (value === 0 || Math.abs(y(value) - y(0)) > 12)), y, LEFT, scale.right, (value) => number(value, 2)),
      bar(0, walk.bias, LEFT - 3, 3, 'total'),
      walk.steps.map(([from, to], t) => bar(from, to, scale.x(t) + gap, scale.step - 2 * gap, to >= from ? 'up' : 'down')),
      bar(0, walk.logit, scale.right, 5, 'total'),
      svg('text', { class: 'tick strong', x: scale.right + 8, y: Math.max(10, y(walk.logit) + 4) }, number(walk.logit)),
      tokenLabels(scale, model.trace.tokens, height), cursorLayer(scale, top, bottom, view.length, hand)));
  });
  const switcher = cells ? html('div', { class: 'tabs', role: 'radiogroup', 'aria-label': 'Which ledger' }, [['state', 'by state'], ['cell', 'by what was written into the cell']].map(([name, text]) =>
    html('label', { class: 'choice' }, html('input', { type: 'radio', 'data-act': `ledger-${name}`, name: 'unrolled-ledger', value: name, checked: (cellView ? 'cell' : 'state') === name, on: { change: () => choose({ ledger: name }) } }), text))) : null;
  const legendLine = html('div', { class: 'legend' }, [['up', 'for'], ['down', 'against'], ['total', 'bias and logit']].map(([kind, text]) => html('span', { class: 'scale' }, html('span', { class: `chip ${kind}` }), text)), `in logits of ${letter(view.target)} ${view.labels[view.target]}`);
  return panel('ledger', title, note, switcher, legendLine, body);
}

// ---- 7 inspector

function inspector(view, hand) {
  const note = 'The numbers of the step under the cursor. The hidden state, the cell and the gates are sent in 255 levels, so they are off by up to 0.4 % of the largest.';
  const body = html('div', { class: 'inspected' });
  hand.follow((t) => {
    body.textContent = '';
    if (t === null || !view.length) { body.append(html('p', { class: 'nothing' }, view.length ? 'Point at a word, or use the arrow keys.' : 'There is nothing to read.')); return; }
    body.append(halves(view, (model) => {
      const { trace } = model, hidden = model.states.hidden, token = trace.tokens[t];
      const ranked = trace.probabilities[t].map((p, index) => [p, index]).sort((a, b) => b[0] - a[0]).slice(0, 3);
      const moved = Array.from(hidden.row(t), (value, unit) => [value - (t ? hidden.at(t - 1, unit) : 0), unit]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 5);
      const gates = Object.keys(trace.gates).filter((name) => name !== 'candidate').map((name) => `${name} ${number(mean(Array.from(model.states[name].row(t))), 2)}`);
      const rows = [
        ['word', [html('bdi', { class: 'word' }, token.text), ` (${t + 1} of ${view.length})`, token.known ? '' : [': unknown, typed ', html('bdi', { class: 'word' }, token.source)]]],
        ['verdict so far', ranked.map(([p, index]) => html('span', { class: 'item' }, badge(index), ` ${view.labels[index]} ${percent(p)}`))],
        ['units that changed most', moved.map(([change, unit]) => html('span', { class: 'item' }, `u${unit} ${signed(change)}`))],
        ['gate means', gates.length ? gates.map((text) => html('span', { class: 'item' }, text)) : 'none: a simple RNN has no gates'],
        ['|∂z/∂h_t|', `${number(trace.gradient_norm[t])}${trace.cell_gradient_norm ? `; |∂z/∂c_t| ${number(trace.cell_gradient_norm[t])}` : ''}`],
        ['ledger', `${signed(trace.contribution[t][view.target])} to ${letter(view.target)}`],
      ];
      return html('table', {}, html('tbody', {}, rows.map(([name, value]) => html('tr', {}, html('th', { scope: 'row' }, name), html('td', {}, value)))));
    }));
  });
  return panel('inspector', 'Inspector', note, body);
}
