// The Experiments tab: one question at a time about the sentence that stands above, asked once it is looked at.

const root = element.querySelector('.unrolled');
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const box = (id) => document.querySelector(`#${id} textarea, #${id} input`);

// What each asks, how, and what not to conclude; then how its answer is drawn.
const EXPERIMENTS = {
  word_order: ['Word order', 'Does the order of the words matter, or would a bag of words do?',
    '50 random shuffles of the tokens are read, and the sentence backwards (Pham et al. 2020; Khandelwal et al. 2018).',
    'An answer that stays says that this sentence can be told from its words alone, not that the network keeps no order. One that flips does not show that grammar was understood: a shuffled sentence is unlike anything it was trained on.', wordOrder],
  distance: ['Distance', 'How long does an answer last once the sentence is over?',
    '0 to 100 neutral words are read after the sentence, and as a control before it. They are a fixed list with little evidence of its own, which the dotted lines show.',
    'Where a curve only approaches the dotted line, the sentence is forgotten; where the dotted line itself is high, a curve that stays high shows nothing. The words make no sentence, and nothing of the kind was trained on.', distance],
  two_halves: ['Two halves', 'Of two headlines read as one text, which wins, and does the evidence point into the right one?',
    'The sentence and the second sentence are joined in both orders (the hybrid documents of Poerner et al. 2018). A method that is asked about one headline’s class should have its best token in that headline.',
    'Which half wins is as much about the two headlines as about the place. A method that points into the wrong half may be right about a network that was misled there.', twoHalves],
  padding: ['Padding', 'What does it cost to read padding as words?',
    '0 to 60 <pad> tokens are read after the sentence, as in a batch with a longer one whose last column is taken for the end; the level line is the packed reading, which stops at the sentence’s own last word.',
    'This classifier was not trained so: one that is learns to bear some of it, at a cost of its own (the notebook’s results on the tab Training). That is why packing exists.', padding],
  referee: ['Deletion as referee', 'Which evidence method should be believed about this sentence?',
    'Each method’s ranking of the words is held against what happens when words go: Kendall’s τ with deletion, the fall of the probability without the best words (comprehensiveness, high is good) and with them alone (sufficiency, low is good; DeYoung et al. 2020); and against the same method on a twin with random weights (near 0 is good; Adebayo et al. 2018). Best first, by the mean rank.',
    'Deletion is judge and party: its τ is 1 by definition. A network may do anything with a sentence that has holes.', referee],
};
const SEEDED = ['word_order', 'referee'];

const asked = { name: 'word_order', seed: 0 };
let typing = null, shown = null, size = 0;

// ---- asking

const PAUSE = 250; // milliseconds of typing
const questions = asking(root, 20000, (number) => {
  trigger('read', { number, name: asked.name, text: box('sentence') ? box('sentence').value : '', other: box('other') ? box('other').value : '', seed: asked.seed });
}, () => say('No answer yet: the server is busy or out of reach.'));
function ask() {
  root.classList.add('stale');
  questions.ask();
}
function receive() {
  if (!props.value) return;
  const answer = JSON.parse(props.value);
  if (!questions.newest(answer.number)) return;
  say(answer.error || '');
  root.classList.toggle('stale', Boolean(answer.error));
  if (answer.error) return;
  shown = answer;
  draw();
}
function say(text) { part('status').textContent = text; }
const inSight = () => part('panels').clientWidth > 0; // not on a tab that is not shown
let unseen = false;
const onInput = (event) => {
  if (!root.isConnected) { document.removeEventListener('input', onInput); return; }
  if (event.target !== box('sentence') && event.target !== box('other')) return;
  unseen = true;
  clearTimeout(typing);
  typing = setTimeout(() => { if (unseen && inSight()) { unseen = false; ask(); } }, PAUSE);
};
document.addEventListener('input', onInput);

// ---- drawing

function draw() {
  size = Math.max(280, part('panels').clientWidth);
  root.classList.toggle('narrow', size < 720);
  choice();
  if (!shown || shown.name !== asked.name) { part('panels').replaceChildren(); return; }
  const [title, question, how, not, picture] = EXPERIMENTS[shown.name];
  const colours = palette(root);
  const models = shown.models.map((model, side) => ({ ...model, side }));
  const good = models.filter((model) => model.result);
  part('panels').replaceChildren(html('section', { class: 'panel', 'aria-label': title, 'data-experiment': shown.name },
    html('h2', {}, question), html('p', { class: 'note' }, `How: ${how}`), html('p', { class: 'note' }, `What not to conclude: ${not}`),
    models.filter((model) => model.error).map((model) => html('p', { class: 'refused' }, html('span', { class: `model-${model.side}` }, model.title), `: ${model.error}`)),
    good.length ? picture(good, size - 34, colours) : null,
    html('div', { class: 'acts' }, good.map((model) => html('button', { type: 'button', class: 'act', 'data-act': `csv-${model.side}`, on: { click: () => save(`${shown.name.replace('_', '-')}-${model.title.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.csv`, model.csv) } }, `Save CSV: ${model.title}`)))));
}
function choice() {
  const focus = document.activeElement && root.contains(document.activeElement) ? document.activeElement.dataset.tab : null;
  const names = Object.keys(EXPERIMENTS);
  const pick = (name) => { asked.name = name; draw(); ask(); };
  const tabs = html('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Experiment' }, names.map((name) => html('button', {
    type: 'button', role: 'tab', class: 'tab', 'data-tab': name, 'aria-selected': String(name === asked.name), tabindex: name === asked.name ? 0 : -1,
    on: { click: () => pick(name), keydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      pick(names[(names.indexOf(name) + by + names.length) % names.length]);
      part('choice').querySelector('[aria-selected="true"]').focus();
    } } }, EXPERIMENTS[name][0])));
  const seed = SEEDED.includes(asked.name) ? html('span', { class: 'control' }, `drawn with seed ${asked.seed} `,
    html('button', { type: 'button', class: 'act', 'data-act': 'draw-again', on: { click: () => { asked.seed += 1; draw(); ask(); } } }, 'Draw again')) : null;
  part('choice').replaceChildren(html('div', { class: 'controls' }, tabs, seed));
  if (focus) { const again = part('choice').querySelector(`[data-tab="${focus}"]`); if (again) again.focus({ preventScroll: true }); }
}
function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  const link = html('a', { href: address, download: name });
  root.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
const answerOf = (index, p) => [badge(index), ` ${shown.labels[index]} ${percent(p)}`];
const legendOf = (models, text) => html('div', { class: 'legend' }, models.map((model) => html('span', { class: 'key' }, svg('svg', { width: 26, height: 10, 'aria-hidden': 'true' }, svg('path', { d: 'M1 5H25', class: `line model-${model.side}` })), html('span', { class: `model-${model.side}` }, model.title))), html('span', {}, text));
// One line for each network: what came out here, and beside it what came out on the test rows.
function sayings(models, here, all) {
  return html('ul', { class: 'sayings' }, models.map((model) => html('li', {}, html('span', { class: `model-${model.side}` }, model.title), ': ', here(model.result),
    html('span', { class: 'beside' }, model.test_set ? [' Test rows: ', all(model.test_set)] : ` ${model.missing}`))));
}
const rowsOf = (set) => `${set.rows.toLocaleString('en')} rows`;

// Lines over a number of things that were put in; dots are means over the test rows.
function curves(models, width, { title, label, of, dots, level, extra, most }) {
  const height = 190, top = 12, bottom = height - 30, left = LEFT, right = width - 14;
  const x = (n) => left + n / most * (right - left), y = (p) => bottom - p * (bottom - top);
  const ticks = [0, most / 4, most / 2, 3 * most / 4, most];
  return html('div', { class: 'half' }, html('h3', {}, title), picture(width, height, `${title}: ${models.map((model) => `${model.title} from ${percent(of(model.result)[0])} to ${percent(of(model.result)[most])}`).join(', ')}`,
    axis([0, 0.5, 1], y, left, right, (p) => `${100 * p}`),
    ticks.map((n) => svg('text', { class: 'tick', x: x(n), y: bottom + 14, 'text-anchor': 'middle' }, String(n))),
    svg('text', { class: 'tick', x: (left + right) / 2, y: bottom + 27, 'text-anchor': 'middle' }, label),
    extra ? models.map((model) => line(extra(model.result).map((p, n) => [x(n), y(p)]), model.side, { 'stroke-opacity': 0.6, style: { strokeDasharray: '1 4' }, 'data-line': 'alone' })) : null,
    level ? models.map((model) => svg('line', { class: `level model-${model.side}`, x1: left, x2: right, y1: y(level(model.result)), y2: y(level(model.result)) })) : null,
    models.map((model) => line(of(model.result).map((p, n) => [x(n), y(p)]), model.side)),
    models.filter((model) => model.test_set).map((model) => dots(model.test_set).map(([n, p]) => svg('circle', { class: `mean model-${model.side}`, cx: x(n), cy: y(p), r: 3.5 }, svg('title', {}, `test rows, ${n}: ${percent(p)}`))))));
}

function wordOrder(models, size) {
  const bins = 20, width = size, height = 200, top = 14, bottom = height - 30, left = LEFT, right = width - 14;
  const counted = models.map((model) => { const bars = new Array(bins).fill(0); model.result.shuffled.forEach((p) => { bars[Math.min(bins - 1, Math.floor(p * bins))] += 1 / model.result.shuffled.length; }); return bars; });
  const x = (p) => left + p * (right - left), y = (share) => bottom - share * (bottom - top);
  const slot = (right - left) / bins, wide = Math.max(2, (slot - 4) / models.length);
  const chart = picture(width, height, 'share of shuffles by the probability of the first answer',
    axis([0, 0.5, 1], y, left, right, (share) => `${100 * share}`),
    [0, 0.25, 0.5, 0.75, 1].map((p) => svg('text', { class: 'tick', x: x(p), y: bottom + 14, 'text-anchor': 'middle' }, String(p))),
    svg('text', { class: 'tick', x: (left + right) / 2, y: bottom + 27, 'text-anchor': 'middle' }, 'probability of the first answer'),
    models.map((model, at) => [
      counted[at].map((share, bin) => (share ? svg('rect', { class: `column model-${model.side}`, x: x(bin / bins) + 2 + at * wide, y: y(share), width: wide - 1, height: bottom - y(share) }) : null)),
      model.test_set ? line(model.test_set.shuffled_histogram.map((share, bin) => [x((bin + 0.5) / bins), y(share)]), model.side, { 'stroke-opacity': 0.5, 'data-line': 'test rows' }) : null,
      svg('text', { class: `settle model-${model.side}`, x: x(model.result.probability), y: top - 3, 'text-anchor': 'middle' }, '▼', svg('title', {}, `${model.title}, as typed`)),
      svg('text', { class: `settle model-${model.side}`, x: x(model.result.reversed), y: bottom - 2, 'text-anchor': 'middle' }, '◀', svg('title', {}, `${model.title}, read backwards`))]));
  return html('div', {}, legendOf(models, 'columns: share of the shuffles in %; line: of the test rows’ shuffles; ▼ as typed, ◀ read backwards'), chart,
    sayings(models, (r) => ['as typed ', answerOf(r.answer, r.probability), `; ${percent(r.flips)} of ${r.shuffled.length} shuffles flip it, mean |Δp| ${number(100 * r.change, 2)} points; backwards `, badge(r.reversed_answer), ` ${shown.labels[r.reversed_answer]}`, `, where the first answer has ${percent(r.reversed)}.`],
      (set) => `${percent(set.shuffled.flips)} of shuffles flip, mean |Δp| ${number(100 * set.shuffled.change, 2)} points; backwards ${percent(set.reversed.flips)} (${rowsOf(set)}, ${set.shuffles} shuffles each).`));
}

function distance(models, size) {
  const narrow = size < 686, width = narrow ? size : Math.floor((size - 24) / 2);
  const lost = (answers) => answers.findIndex((answer) => answer !== answers[0]);
  const until = (answers, place) => (lost(answers) < 0 ? `lasts through ${answers.length - 1} words ${place} it` : `is first lost at ${lost(answers)} ${place} it`);
  const charts = [['after', 'Neutral words after the sentence'], ['before', 'Neutral words before the sentence: the control']].map(([place, title]) => curves(models, width, {
    title, label: 'neutral words', most: models[0].result.after.length - 1, of: (r) => r[place], extra: (r) => r.alone.map((row) => row[r.answer]),
    dots: (set) => set.counts.map((n, k) => [n, set[place][k].probability]) }));
  return html('div', {}, legendOf(models, 'probability of the first answer in %; dots: mean over test rows of theirs; dotted: the neutral words alone'), html('div', { class: 'halves of-2' }, charts),
    sayings(models, (r) => [answerOf(r.answer, r.after[0]), ` ${until(r.after_answers, 'after')} and ${until(r.before_answers, 'before')}; by themselves the words move two logits at most ${number(r.spread, 2)} apart.`],
      (set) => { const last = set.counts.length - 1; return `${percent(set.after[last].flips)} flip at ${set.counts[last]} words after, ${percent(set.before[last].flips)} before (${rowsOf(set)}).`; }),
    html('p', { class: 'about' }, `The words: ${models[0].result.neutral.join(', ')}, over and over. ${models.map((model) => `${model.title} knows ${model.result.known} of ${model.result.neutral.length}`).join('; ')}.`));
}

function padding(models, size) {
  const chart = curves(models, size, { title: 'Padding read as words', label: '<pad> tokens after the sentence', most: models[0].result.padded.length - 1, of: (r) => r.padded, level: (r) => r.packed,
    dots: (set) => set.counts.map((n, k) => [n, set.padded[k].probability]) });
  return html('div', {}, legendOf(models, 'probability of the first answer in %; thin: packed; dots: mean over test rows of theirs'), chart,
    sayings(models, (r) => [answerOf(r.answer, r.packed), r.flips_at === null ? ' holds through all padding' : ` is lost at ${r.flips_at} tokens of padding`, `; with ${r.padded.length - 1} its probability is ${percent(r.padded[r.padded.length - 1])}.`],
      (set) => `in batches of ${set.batch} padded to their longest row, ${percent(set.batched.flips)} of answers change and accuracy is ${percent(set.batched.accuracy)}; with ${set.counts[set.counts.length - 1]} tokens ${percent(set.padded[set.padded.length - 1].flips)} change (${rowsOf(set)}).`));
}

function table(caption, head, rows) {
  return html('div', { class: 'wide', tabindex: 0, role: 'group', 'aria-label': caption }, html('table', { class: 'results' }, html('caption', {}, caption),
    html('thead', {}, html('tr', {}, head.map((cell) => html('th', { scope: 'col' }, cell)))), html('tbody', {}, rows.map(([name, ...cells]) => html('tr', {}, html('th', { scope: 'row' }, name), cells.map((cell) => html('td', {}, cell)))))));
}
const sides = (models, each) => html('div', { class: `halves of-${models.length}` }, models.map((model) => html('div', { class: 'half' }, html('div', { class: `who model-${model.side}` }, model.title), each(model))));
const share = (value) => (value === null ? 'n/a' : percent(value));

function twoHalves(models) {
  return html('div', {}, sides(models, ({ result: r, test_set: set, missing }) => {
    const places = ['the sentence', 'the second sentence'];
    const order = [0, 1].map((at) => {
      const p = r.probabilities[at], best = p.indexOf(Math.max(...p)), won = r.winners[at];
      return [at ? 'second sentence in front' : 'sentence in front', answerOf(best, p[best]), won === null ? 'neither' : `${places[won]}, ${won === at ? 'in front' : 'at the back'}`];
    });
    const methods = [...new Set(r.pointing.map((found) => found.method))];
    const hits = methods.map((method) => {
      const own = r.pointing.filter((found) => found.method === method), masses = own.map((found) => found.mass).filter((mass) => mass !== null);
      const all = set && set.methods[method];
      return [method, `${own.filter((found) => found.hit).length} of ${own.length}`, masses.length ? percent(mean(masses)) : 'n/a', all ? `${share(all.hits)}, ${share(all.mass)}` : 'n/a'];
    });
    return html('div', {}, html('p', {}, 'By itself the sentence is ', badge(r.answers[0]), ` ${shown.labels[r.answers[0]]}, the second `, badge(r.answers[1]), ` ${shown.labels[r.answers[1]]}.`),
      table('Read as one text', ['order', 'answer', 'who wins'], order),
      table('Does the evidence point into the right half?', ['method', 'best token in it', 'positive evidence in it', 'test rows: both'], hits),
      html('p', { class: 'beside' }, set ? `Test rows: the half in front wins ${share(set.front)}, the one at the back ${share(set.back)}, neither ${share(set.neither)} of joined texts (${set.pairs.toLocaleString('en')} pairs; evidence over ${rowsOf({ rows: set.judged_rows })}).` : missing));
  }));
}

function referee(models) {
  const figure = (value) => (value === null ? 'n/a' : number(value, 2));
  return html('div', {}, sides(models, ({ result: r, test_set: set, missing }) => html('div', {},
    html('p', {}, 'Evidence for ', badge(r.target), ` ${shown.labels[r.target]}.`),
    table('This sentence, and after the slash the mean over test rows', ['method', 'τ with deletion', 'comprehensiveness', 'sufficiency', 'τ with the twin'],
      r.methods.map((found) => [found.method, ...['agreement', 'comprehensiveness', 'sufficiency', 'twin'].map((name) => `${figure(found[name])} / ${set ? figure(set.methods[found.method][name]) : 'n/a'}`)])),
    html('p', { class: 'beside' }, set ? `Test rows: ${rowsOf(set)}.` : missing))));
}

// ---- start

watch('value', receive);
draw();
ask();
new ResizeObserver(() => {
  const width = part('panels').clientWidth;
  if (!width) return;
  if (unseen) { unseen = false; ask(); }
  if (Math.abs(Math.max(280, width) - size) > 4) draw();
}).observe(part('choice'));
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] }); // the theme
