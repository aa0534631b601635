'use strict';
(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($('data').textContent);

  // Saving.
  const save = (name, type, text) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const cell = value => {
    let text = value === null || value === '-' ? '' : String(value);
    // A spreadsheet would take it for a formula.
    if (typeof value === 'string' && /^[=+\-@\t\r＝＋－＠]/.test(text)) text = "'" + text;
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = rows => rows.map(row => row.map(cell).join(',') + '\r\n').join('');
  const offer = (after, name, rows) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'save';
    button.textContent = 'Save as CSV';
    button.setAttribute('aria-label', 'Save as CSV: ' + after.getAttribute('aria-label'));
    button.addEventListener('click', () => save(`tcpwait-${name}.csv`, 'text/csv', csv(rows())));
    after.after(button);
  };
  $('save').hidden = false;
  $('save').addEventListener('click', () => save(`tcpwait-${data.schema.split('/')[0]}.json`, 'application/json', $('data').textContent));
  for (const box of document.querySelectorAll('.picture[data-picture]')) {
    const drawn = data.pictures?.[box.dataset.picture];
    if (drawn) offer(box, box.dataset.picture, () => [drawn.columns, ...drawn.rows]);
  }

  // Sorting.
  for (const table of document.querySelectorAll('table')) {
    const body = table.tBodies[0];
    const texts = row => [...row.cells].map(cell => cell.textContent);
    const name = table.parentNode.getAttribute('aria-label').toLowerCase().replace(/[^a-z]+/g, '-').slice(0, 40);
    offer(table.parentNode, name, () => [...table.rows].map(texts));
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const is_number = head.classList.contains('number');
        // The largest number first, but the first letter.
        const down = head.ariaSort ? head.ariaSort !== 'descending' : is_number;
        for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const at = head.cellIndex;
        const value = row => Number(row.cells[at].dataset.value ?? -1e99);
        const compare = is_number
          ? (one, other) => value(other) - value(one)
          : (one, other) => texts(other)[at].localeCompare(texts(one)[at]);
        const rows = [...body.rows].sort(compare);
        body.append(...(down ? rows : rows.reverse()));
      });
    }
  }

  // Time: pictures that have it show the same part of it, from and to as shares of the whole.
  const number = (element, name) => Number(element.getAttribute(name));
  const make = (parent, name, attributes) => {
    const made = document.createElementNS(parent.namespaceURI, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    parent.append(made);
    return made;
  };
  const whole = data.length_s;
  const pictures = [...document.querySelectorAll('.picture > svg')].filter(svg => svg.querySelector('.times')).map(svg => {
    const plot = svg.querySelector('.plot');
    const [x, width, height] = ['x', 'width', 'height'].map(name => number(plot, name));
    const chosen = make(plot, 'rect', {class: 'chosen', y: 0, height, width: 0});
    const cursor = make(plot, 'line', {class: 'cursor', y1: 0, y2: height, x1: -9, x2: -9});
    const crosses = [...svg.querySelectorAll('.crosses path')].map(path => [path, parseFloat(path.getAttribute('d').slice(1)) + 3]);
    return {svg, plot, x, width, height, chosen, cursor, crosses, times: svg.querySelector('.times'), hatch: svg.querySelector('pattern')};
  });
  if (!pictures.length || !(whole > 0)) return;
  let from = 0, to = 1;
  const LEAST = Math.min(1, Math.max(1e-3 / whole, 1e-4));
  const STEPS = [.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400];
  const wall = (seconds, step) => {
    const time = new Date(Math.round(data.begin_ms + data.utc_offset_s * 1000 + seconds * 1000));
    return time.toISOString().slice(11, step < 1 ? 23 : 19);
  };
  const axis = ({times}) => {
    const [left, width, y] = ['data-left', 'data-width', 'data-y'].map(name => number(times, name));
    times.replaceChildren();
    make(times, 'line', {class: 'axis', x1: left, x2: left + width, y1: y, y2: y});
    const span = (to - from) * whole, step = STEPS.find(step => span / step <= width / 88) ?? span / 8;
    const begin = data.begin_ms / 1000 + data.utc_offset_s;
    for (let mark = Math.ceil((begin + from * whole) / step); mark * step <= begin + to * whole; mark++) {
      const seconds = mark * step - begin, x = left + (seconds / whole - from) / (to - from) * width;
      make(times, 'line', {class: 'axis', x1: x, x2: x, y1: y, y2: y + 4});
      make(times, 'text', {class: 'middle small', x, y: y + 15}).textContent = wall(seconds, step);
    }
  };
  const show = (begin, end) => {
    const length = Math.min(1, Math.max(end - begin, LEAST));
    from = Math.min(Math.max(begin, 0), 1 - length);
    to = from + length;
    const all = length === 1;
    for (const picture of pictures) {
      const {plot, x, width, height, chosen, hatch, crosses} = picture;
      plot.setAttribute('viewBox', `${from * width} 0 ${length * width} ${height}`);
      chosen.setAttribute('width', 0);
      if (hatch) hatch.setAttribute('patternTransform', `scale(${length} 1) rotate(45)`);
      for (const [path, at] of crosses) {
        const share = ((at - x) / width - from) / length;
        path.setAttribute('transform', `translate(${x + share * width - at})`);
        path.setAttribute('visibility', share < 0 || share > 1 ? 'hidden' : 'visible');
      }
      axis(picture);
    }
    $('all').hidden = all;
    $('bar').hidden = all && !$('at').textContent;
    try {
      const hash = all ? '' : `#t=${(from * whole).toFixed(3)}-${(to * whole).toFixed(3)}`;
      if (hash || location.hash.startsWith('#t=')) history.replaceState(null, '', hash || location.pathname + location.search);
    } catch { /* The address stays as it was. */ }
  };
  const byHash = () => {
    const [, begin, end] = /^#t=([\d.]+)-([\d.]+)$/.exec(location.hash) ?? [];
    if (Number(end) > Number(begin)) show(begin / whole, end / whole);
  };
  const told = share => {
    const seconds = share * whole, parts = [wall(seconds, (to - from) * whole / 100)];
    for (const name of ['sockets', 'rates', 'ports', 'services']) {
      const {columns, rows, part_s} = data.pictures[name];
      const row = rows[Math.min(rows.length - 1, Math.floor(seconds / part_s))] ?? [];
      const there = columns.map((column, at) => [column, row[at]]).slice(1).filter(([, value]) => value);
      if (name === 'services') there.sort((one, other) => other[1] - one[1]).splice(3);
      parts.push(there.map(([column, value]) => value === true ? `${column}!` : `${column} ${value.toLocaleString('en')}`).join(', '));
    }
    return parts.filter(Boolean).join(' · ');
  };
  let begun = null;
  for (const {svg, plot, x, width} of pictures) {
    const share = event => {
      const box = svg.getBoundingClientRect();
      return ((event.clientX - box.left) / box.width * svg.viewBox.baseVal.width - x) / width;
    };
    const at = event => from + Math.min(Math.max(share(event), 0), 1) * (to - from);
    svg.addEventListener('pointermove', event => {
      const there = at(event), is = share(event);
      if (begun === null && (is < 0 || is > 1)) return;
      for (const {cursor, chosen, width} of pictures) {
        cursor.setAttribute('x1', there * width);
        cursor.setAttribute('x2', there * width);
        if (begun !== null) {
          chosen.setAttribute('x', Math.min(begun, there) * width);
          chosen.setAttribute('width', Math.abs(there - begun) * width);
        }
      }
      $('bar').hidden = false;
      $('at').textContent = told(there);
    });
    svg.addEventListener('pointerdown', event => {
      if (event.pointerType === 'touch' || event.button !== 0 || share(event) < 0 || share(event) > 1) return;
      begun = at(event);
      svg.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    svg.addEventListener('pointerup', event => {
      if (begun === null) return;
      const end = at(event), is_drag = Math.abs(end - begun) > (to - from) / 200;
      if (is_drag) show(Math.min(begun, end), Math.max(begun, end));
      begun = null;
    });
    svg.addEventListener('pointercancel', () => { begun = null; show(from, to); });
    svg.addEventListener('dblclick', () => show(0, 1));
    svg.parentNode.addEventListener('keydown', event => {
      const length = to - from, middle = (from + to) / 2;
      const by = {'+': [middle - length / 4, middle + length / 4], '=': [middle - length / 4, middle + length / 4],
        '-': [middle - length, middle + length], 'Escape': [0, 1]};
      if (length < 1) Object.assign(by, {'ArrowLeft': [from - length / 4, to - length / 4], 'ArrowRight': [from + length / 4, to + length / 4]});
      if (!by[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const [begin, end] = by[event.key];
      show(begin, end);
    });
  }
  $('how').hidden = false;
  $('all').addEventListener('click', () => show(0, 1));
  addEventListener('hashchange', byHash);
  byHash();
})();
