// Two sentences, aligned token by token.

// `comparison` has for each network what Page.experiment('two_sentences') returns.
function comparison(view, hand, size, save) {
  if (!view.comparison) return null;
  const note = 'Both sentences, aligned by their longest common runs of words; where they differ, words are paired in order. Lines: the probability of the class if each sentence stopped there. A verdict before the end is a probe: the readout was trained on whole texts. Two sentences that differ in one word show what it does here, not what it does elsewhere.';
  const body = halves(view, (model, side) => {
    const { result, error, test_set: all, missing, csv } = view.comparison[side];
    if (error) return html('p', { class: 'nothing' }, error);
    const { pairs, first, second, first_verdicts: one, second_verdicts: two } = result, count = pairs.length;
    if (!count) return nothing();
    const target = view.target, scale = columns(size, count), room = labelled(scale) ? 62 : 6;
    const top = 8, bottom = 118, y = (p) => bottom - p * (bottom - top);
    const words = (texts, which, at) => (labelled(scale) ? pairs.map((pair, k) => (pair[which] === null ? null
      : svg('text', { class: same(pair) ? 'token-label shared' : 'token-label apart', transform: `translate(${scale.middle(k) + 3} ${at + 6}) rotate(-55)`, 'text-anchor': 'end' }, short(texts[pair[which]])))) : []);
    const same = ([i, j]) => i !== null && j !== null && first[i] === second[j];
    const along = (which, verdicts) => pairs.map((pair, k) => [scale.middle(k), pair[which] === null ? null : y(verdicts[pair[which]][target])]).filter(([, p]) => p !== null);
    let widest = null;
    pairs.forEach(([i, j], k) => { if (i !== null && j !== null) { const by = Math.abs(one[i][target] - two[j][target]); if (!widest || by > widest.by) widest = { by, k }; } });
    const indexOf = (t) => { const k = pairs.findIndex((pair) => pair[0] === t); return k < 0 ? null : k; };
    const aligned = { follow: (follower) => hand.follow((t) => follower(t === null ? null : indexOf(t))), hover: (k) => hand.hover(k === null ? null : pairs[k][0]), pin: (k) => { if (pairs[k][0] !== null) hand.pin(pairs[k][0]); } };
    const says = (verdicts) => { const last = verdicts[verdicts.length - 1]; if (!last) return ['nothing was read']; const best = last.indexOf(Math.max(...last)); return [badge(best), ` ${view.labels[best]} ${percent(last[best])}`]; };
    return html('div', {}, html('p', {}, 'First: ', says(one), '; second: ', says(two), widest ? `. Farthest apart after “${first[pairs[widest.k][0]]}” and “${second[pairs[widest.k][1]]}”: ${number(100 * widest.by, 2)} points.` : '.'),
      picture(size, bottom + 14 + 2 * room, `probability of ${view.labels[target]} along both sentences, ${model.title}`,
        axis([0, 0.5, 1], y, scale.left, scale.right, (p) => `${100 * p}`),
        line(along(0, one), side, { style: { strokeDasharray: 'none' }, 'data-line': 'first' }), line(along(1, two), side, { style: { strokeDasharray: '2 4' }, 'data-line': 'second' }),
        labelled(scale) ? [svg('text', { class: 'tick', x: 2, y: bottom + 18 }, 'first'), svg('text', { class: 'tick', x: 2, y: bottom + 18 + room }, 'second')] : null,
        words(first, 0, bottom + 6), words(second, 1, bottom + 6 + room), cursorLayer(scale, top, bottom, count, aligned)),
      html('p', { class: 'about' }, all ? `On ${all.rows.toLocaleString('en')} test rows, one word drawn at random and put in the place of another changes the answer of ${percent(all.one_word.flips)}, and the probability of the first answer by ${number(100 * all.one_word.change, 2)} points on average.` : missing),
      html('button', { type: 'button', class: 'act', on: { click: () => save(`two-sentences-${side + 1}.csv`, 'text/csv', csv) } }, 'Save CSV'));
  });
  return panel('comparison', 'Two sentences', note, html('div', { class: 'legend' }, html('span', { class: 'key' }, 'solid: first'), html('span', { class: 'key' }, 'dotted: second'), html('span', {}, `probability of ${letter(view.target)} ${view.labels[view.target]} in %`)), body);
}
const short = (text) => (text.length > 11 ? `${text.slice(0, 10)}…` : text);
