// The page of a unit: what was measured about it on test rows, before any sentence was typed.

const GATE_NAMES = { input: 'input gate', forget: 'forget gate', output: 'output gate', reset: 'reset gate', update: 'update gate' };

// `unit` as Page.payload has it: `lens.units.unit_payload` with the accuracy of the whole network and the number of rows.
function unitPage(labels, unit) {
  if (unit.missing) return html('p', { class: 'nothing' }, unit.missing);
  const points = (unit.accuracy - unit.whole) * 100;
  const rows = [
    ['class it tells best', [badge(unit.class), ` ${labels[unit.class]}, selectivity ${signed(unit.selectivity)}`]],
    ['accuracy without it', `${percent(unit.accuracy)}, ${points > 0 ? '+' : ''}${points.toFixed(2).replace('-', '−')} points (${percent(unit.whole)} with all; ${unit.rows.toLocaleString('en')} test rows)`],
    ['its weights in the readout', unit.readout.map((weight, index) => html('span', { class: 'item' }, badge(index), ` ${signed(weight)}`))],
    ...Object.entries(unit.saturated).map(([gate, [low, high]]) => [GATE_NAMES[gate], `below 0.1 at ${percent(low)} of words, above 0.9 at ${percent(high)}`]),
  ];
  return html('div', { class: 'unit-page' },
    html('table', {}, html('tbody', {}, rows.map(([name, value]) => html('tr', {}, html('th', { scope: 'row' }, name), html('td', {}, value))))),
    html('h3', {}, 'Where it is most active'),
    unit.windows.length ? html('ol', { class: 'windows' }, unit.windows.map((found) => html('li', {},
      html('span', { class: 'number' }, signed(found.value)), ' ', badge(found.class), ' ',
      found.tokens.flatMap((token, at) => [html(at === found.peak ? 'mark' : 'span', {}, token), ' ']))))
      : html('p', { class: 'nothing' }, 'No passage is stored.'));
}
const UNIT_NOTE = 'Measured on the test rows. Selectivity: the rank-biserial correlation of its final state with a class, −1 to 1 (2 AUC − 1); a selective unit need not matter, and the accuracy without it says whether it does. A passage is up to eight words around a peak of |h|, with the right answer of its row; eight passages are not what the unit means.';
