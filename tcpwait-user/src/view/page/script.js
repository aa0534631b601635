'use strict';
for (const table of document.querySelectorAll('table')) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const down = head.ariaSort !== 'descending';
      for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
      head.ariaSort = down ? 'descending' : 'ascending';
      const at = head.cellIndex, body = table.tBodies[0];
      const value = row => Number(row.cells[at].dataset.value);
      const text = row => row.cells[at].textContent;
      const compare = head.classList.contains('number')
        ? (one, other) => value(other) - value(one)
        : (one, other) => text(other).localeCompare(text(one));
      const rows = [...body.rows].sort(compare);
      body.append(...(down ? rows : rows.reverse()));
    });
  }
}
const save = document.getElementById('save');
if (save) {
  save.hidden = false;
  save.addEventListener('click', () => {
    const text = document.getElementById('data').textContent;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], {type: 'application/json'}));
    link.download = 'tcpwait-report.json';
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
