// All can be read without JavaScript: what a page shows is the same with it, but for what is used with it: buttons, and what the file itself hides.

import { readFile } from 'node:fs/promises';

/** What can be seen on a page: of each section its heading, text, rows of tables and pictures with their text. `file` is the page. */
export async function seen(page, file) {
  return page.evaluate(source => {
    const hidden = [...new DOMParser().parseFromString(source, 'text/html').querySelectorAll('[hidden][id]')].map(element => `#${element.id}`);
    const shown = element => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
    // A heading of a table is in a button with JavaScript; any other button is nothing without it.
    const isControl = element => (element.closest('button') && !element.closest('th')) || (hidden.length > 0 && element.closest(hidden.join()));
    const words = root => {
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      const found = [];
      while (walker.nextNode()) {
        const text = walker.currentNode.data.replace(/\s+/g, ' ').trim();
        const parent = walker.currentNode.parentElement;
        if (text && !parent.closest('title') && !isControl(parent) && shown(parent)) found.push(text);
      }
      return found;
    };
    const parts = [...document.querySelectorAll('main > *')].filter(part => !isControl(part));
    return {
      parts: parts.map(part => ({
        heading: part.querySelector('h2')?.textContent ?? null,
        text: words(part).join(' '),
        rows: [...part.querySelectorAll('tbody tr')].filter(shown).length,
        pictures: [...part.querySelectorAll('svg[role=img]')].filter(shown).map(picture => words(picture).length),
      })),
      buttons: [...document.querySelectorAll('button')].filter(shown).map(button => button.textContent),
    };
  }, await readFile(file, 'utf8'));
}

/** A page says something: what it is compared with is not nothing. */
export function saysSomething({ parts }) {
  const sections = parts.filter(part => part.heading);
  const faults = sections.filter(part => !part.text.replace(part.heading, '').trim()).map(part => `has nothing to read in ${part.heading}`);
  if (sections.length < 5) faults.push(`has only ${sections.length} sections`);
  for (const { heading, pictures } of sections) if (pictures.includes(0)) faults.push(`has a picture without text in ${heading}`);
  return faults;
}

/** What is missing of `whole`, which the same page showed with JavaScript. */
export function reads(without, whole) {
  const faults = without.buttons.map(button => `has a button that does nothing without JavaScript: ${button}`);
  if (without.parts.length !== whole.parts.length) faults.push(`has ${without.parts.length} parts without JavaScript, and ${whole.parts.length} with it`);
  without.parts.forEach((part, at) => {
    const [here, there] = [JSON.stringify(part), JSON.stringify(whole.parts[at] ?? null)];
    const first = [...here].findIndex((letter, at) => letter !== there[at]);
    const near = text => text.slice(Math.max(first - 40, 0), first + 80);
    if (here !== there) faults.push(`shows something else without JavaScript in ${part.heading}: ${near(here)} instead of ${near(there)}`);
  });
  return faults;
}
