// A table is sorted by its headings, by a click and by a key; what a screen reader is told of the order is the order.

import { click } from '../hand.mjs';

/** Presses the first and the last heading of each table. Gives the faults, and how many headings were pressed. */
export async function sorts(page) {
  const faults = [];
  let pressed = 0;
  for (const [at, table] of (await page.$$('table')).entries()) {
    const buttons = await table.$$('thead th button');
    if (buttons.length === 0) faults.push(`has a table, number ${at + 1}, without anything to sort it by`);
    const before = await rows(table);
    for (const column of new Set([0, buttons.length - 1].filter(column => column in buttons))) {
      const orders = [];
      for (const press of [() => click(buttons[column]), () => keyed(page, buttons[column], 'Enter'), () => keyed(page, buttons[column], ' ')]) {
        await press();
        const { order, others, sorted } = await state(table, column);
        const heading = `table ${at + 1}, heading ${column + 1}`;
        if (!sorted) faults.push(`is not ${order} as it says: ${heading}`);
        if (others) faults.push(`says of two columns that it is sorted by them: ${heading}`);
        orders.push(order);
      }
      if (orders[0] === orders[1] || orders[0] !== orders[2]) faults.push(`does not turn its order around: table ${at + 1}: ${orders}`);
      pressed += 1;
    }
    if ((await rows(table)).sort().join('\n') !== before.sort().join('\n')) faults.push(`has other rows when sorted: table ${at + 1}`);
  }
  return { faults, count: pressed };
}

async function keyed(page, button, key) {
  await button.focus();
  await page.keyboard.press(key);
}

const rows = table => table.evaluate(table => [...table.tBodies[0].rows].map(row => row.textContent));

const state = (table, column) =>
  table.evaluate((table, column) => {
    const heads = [...table.tHead.rows[0].cells];
    const order = heads[column].getAttribute('aria-sort');
    const isNumber = heads[column].classList.contains('number');
    const cells = [...table.tBodies[0].rows].map(row => row.cells[column]);
    // What is not known is less than anything.
    const value = cell => Number(cell.dataset.value ?? -1e99);
    const compare = isNumber
      ? (one, other) => value(one) - value(other)
      : (one, other) => one.textContent.localeCompare(other.textContent);
    const way = { ascending: 1, descending: -1 }[order];
    const sorted = way !== undefined && cells.every((cell, at) => at === 0 || way * compare(cells[at - 1], cell) <= 0);
    return { order, sorted, others: heads.some((head, at) => at !== column && head.hasAttribute('aria-sort')) };
  }, column);
