// The path of the state through the plane in which states of test rows differ most.

function trajectory(view, hand, size) {
  const note = 'The state h_t after each word, from ○ (nothing read) to ● (the end), in the plane of the two strongest principal components of test states. A letter stands at the mean final state of its class’s test rows; an arrow points where its logit grows (the longest arrow of a network has a fixed length). Each network has a plane of its own: compare the shape of the paths, not the directions. Points that meet here may be far apart in what the plane leaves out.';
  const title = 'Trajectory: the way to the verdict';
  if (!view.length) return panel('trajectory', title, note, nothing());
  const extent = (path) => largest([...path.points, ...path.ends.filter(Boolean)].flat()) || 1;
  const shared = Math.max(1e-9, ...view.models.map((model) => (model.trajectory ? extent(model.trajectory) : 0)));
  const body = halves(view, (model, side) => {
    const path = model.trajectory;
    if (!path) return html('p', { class: 'nothing' }, 'The plane was not measured: there is no units.json beside its weights; train.py --measure makes it.');
    const most = view.shapeOnly ? extent(path) : shared, width = Math.min(size, 460), height = Math.round(width * 0.72);
    const unit = (Math.min(width, height) / 2 - 26) / most, at = ([x, y]) => [width / 2 + x * unit, height / 2 - y * unit];
    const longest = Math.max(...path.readouts.map(([x, y]) => Math.hypot(x, y))) || 1;
    const arrows = path.readouts.map(([x, y], index) => {
      const [toX, toY] = [width / 2 + x / longest * 46, height / 2 - y / longest * 46], turn = Math.atan2(toY - height / 2, toX - width / 2);
      const barb = (by) => `L${(toX - 6 * Math.cos(turn + by)).toFixed(1)} ${(toY - 6 * Math.sin(turn + by)).toFixed(1)}M${toX.toFixed(1)} ${toY.toFixed(1)}`;
      return view.shown.includes(index) ? svg('g', {}, svg('path', { class: 'arrow', style: { stroke: classColour(index) }, d: `M${width / 2} ${height / 2}L${toX.toFixed(1)} ${toY.toFixed(1)}${barb(0.5)}${barb(-0.5)}` }),
        svg('text', { class: 'tick strong', x: width / 2 + x / longest * 56, y: height / 2 - y / longest * 56 + 4, 'text-anchor': 'middle' }, letter(index))) : null;
    });
    const ends = path.ends.map((end, index) => {
      if (!end || !view.shown.includes(index)) return null;
      const [x, y] = at(end);
      return svg('g', {}, svg('circle', { class: 'end', cx: x, cy: y, r: 9, style: { fill: classColour(index) } }), svg('text', { class: 'end-letter', x, y: y + 4, 'text-anchor': 'middle' }, letter(index)));
    });
    const points = path.points.map(at);
    const dots = points.slice(1).map(([x, y], t) => svg('circle', { class: `dot step-dot model-${side}`, cx: x, cy: y, r: t === points.length - 2 ? 5 : 2.5, 'data-t': t,
      on: { pointerenter: () => hand.hover(t), pointerleave: () => hand.hover(null), click: () => hand.pin(t) } }));
    const mark = svg('circle', { class: 'cursor-dot', r: 7, visibility: 'hidden' }), word = svg('text', { class: 'tick strong', visibility: 'hidden' });
    hand.follow((t) => {
      for (const node of [mark, word]) node.setAttribute('visibility', t === null ? 'hidden' : 'visible');
      if (t === null) return;
      const [x, y] = points[t + 1], left = x > width * 0.6;
      mark.setAttribute('cx', x); mark.setAttribute('cy', y);
      word.setAttribute('x', x + (left ? -11 : 11)); word.setAttribute('y', y + 4); word.setAttribute('text-anchor', left ? 'end' : 'start');
      word.textContent = model.trace.tokens[t].text.slice(0, 24);
    });
    const ratio = `participation ratio ${number(path.participation)}`;
    return html('div', {}, picture(width, height, `path of ${model.title} through the plane, ${view.length} words`,
      svg('path', { class: 'grid', d: `M0 ${height / 2}H${width}M${width / 2} 0V${height}` }), arrows, ends,
      svg('path', { d: points.map(([x, y], index) => `${index ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join(''), class: `line model-${side}`, 'stroke-opacity': 0.7 }),
      svg('circle', { class: `start model-${side}`, cx: points[0][0], cy: points[0][1], r: 5 }), dots, mark, word),
    html('p', { class: 'about' }, `Across ${percent(path.shares[0])}, up ${percent(path.shares[1] || 0)} of the variance of test states; ${ratio}: the states vary in about so many dimensions, where ${view.labels.length} classes need ${view.labels.length - 1} (Aitken et al. 2020).`));
  });
  return panel('trajectory', title, note, body);
}
