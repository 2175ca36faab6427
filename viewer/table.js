// The Units tab: all units of each network in a table that can be sorted, and the page of a chosen one.

const root = element.querySelector('.unrolled');
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const COLUMNS = [
  ['unit', (unit) => unit.index], ['class', (unit) => unit.class], ['selectivity', (unit) => -Math.abs(unit.selectivity)], ['accuracy without it', (unit) => unit.accuracy],
];
const chosen = { units: [], sort: 3 };
let shown = null;

const questions = asking(root, 6000, (number) => trigger('read', { number, units: chosen.units }),
  () => { part('status').textContent = 'No answer yet: the server is busy or out of reach.'; });
const { ask } = questions;

function receive() {
  if (!props.value) return;
  const answer = JSON.parse(props.value);
  if (!questions.newest(answer.number)) return;
  shown = answer;
  part('status').textContent = '';
  draw();
}

function draw() {
  if (!shown) return;
  const body = html('div', { class: `halves of-${shown.models.length}` }, shown.models.map((model, side) => html('div', { class: `half side-${side}` },
    html('div', { class: `who model-${side}` }, model.title), model.units ? half(model, side) : html('p', { class: 'nothing' }, model.missing))));
  const within = document.activeElement && root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  root.classList.toggle('narrow', part('panels').clientWidth < 720);
  part('panels').replaceChildren(html('section', { class: 'panel', 'aria-label': 'Units' }, html('h2', {}, 'What each unit responds to'),
    html('p', { class: 'note' }, UNIT_NOTE), html('p', { class: 'note' }, 'Click a heading to sort and a row to open its page. A number in one network has nothing to do with the same number in the other. To silence a unit, pin it on the tab Read.'), body));
  const again = within && root.querySelector(`[data-key="${within}"]`);
  if (again) again.focus({ preventScroll: true });
}

function half(model, side) {
  const units = model.units.map((unit, index) => ({ ...unit, index })).sort((a, b) => COLUMNS[chosen.sort][1](a) - COLUMNS[chosen.sort][1](b) || a.index - b.index);
  const gates = Object.keys(model.units[0].saturated);
  const head = html('tr', {}, COLUMNS.map(([title], index) => html('th', { scope: 'col', 'aria-sort': index === chosen.sort ? 'ascending' : null },
    html('button', { type: 'button', class: 'sort', 'data-key': `sort-${side}-${index}`, on: { click: () => { chosen.sort = index; draw(); } } }, title))),
  gates.map((gate) => html('th', { scope: 'col' }, `${gate}: shut, open`)));
  const rows = units.map((unit) => html('tr', { class: unit.index === chosen.units[side] ? 'here' : null },
    html('td', {}, html('button', { type: 'button', class: 'sort', 'data-key': `unit-${side}-${unit.index}`, 'aria-pressed': String(unit.index === chosen.units[side]), on: { click: () => {
      chosen.units = shown.models.map((_, at) => (at === side ? unit.index : chosen.units[at] === undefined ? null : chosen.units[at]));
      ask();
    } } }, `u${unit.index}`)),
    html('td', {}, badge(unit.class), ` ${shown.labels[unit.class]}`), html('td', { class: 'number' }, signed(unit.selectivity)),
    html('td', { class: 'number' }, percent(unit.accuracy)), gates.map((gate) => html('td', { class: 'number' }, unit.saturated[gate].map(percent).join(', ')))));
  return html('div', {},
    model.unit ? html('div', { class: 'opened', 'aria-live': 'polite' }, html('h3', {}, `Unit ${model.unit.unit} of ${model.title}`), unitPage(shown.labels, model.unit)) : html('p', { class: 'nothing' }, 'Choose a unit.'),
    html('div', { class: 'wide tall', tabindex: 0, role: 'group', 'aria-label': `All units of ${model.title}` },
      html('table', { class: 'all-units' }, html('caption', {}, `All ${units.length} units; ${percent(model.whole)} with all of them`), html('thead', {}, head), html('tbody', {}, rows))));
}

watch('value', receive);
if (props.value) receive(); else ask();
new ResizeObserver(() => { if (part('panels').clientWidth) root.classList.toggle('narrow', part('panels').clientWidth < 720); }).observe(part('panels'));
