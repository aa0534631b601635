// axe finds nothing, and text in pictures, whose contrast it does not judge, is as legible as the rest.

import axe from 'axe-core';

// Of WCAG 2, level AA.
const CONTRAST = 4.5;

export async function accessible(page) {
  await page.setViewport({ width: 1100, height: 900 });
  await page.evaluate(axe.source);
  const violations = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ['violations'] })).violations
    .map(({ id, nodes }) => `${id}: ${nodes.length} times, ${nodes[0].html.slice(0, 200)}: ${nodes[0].failureSummary}`));
  return [...violations.map(violation => `axe: ${violation}`), ...(await faint(page))];
}

// The kinds of text in pictures that are hard to tell from the paper.
const faint = page =>
  page.evaluate(least => {
    const channels = colour => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
    const luminance = colour => {
      const [r, g, b] = channels(colour).map(c => c / 255).map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = new Map();
    for (const text of document.querySelectorAll('svg text')) {
      const [ink, paper] = [getComputedStyle(text).fill, getComputedStyle(text.closest('svg')).backgroundColor];
      const [light, dark] = [luminance(ink), luminance(paper)].sort((a, b) => b - a);
      const ratio = (light + 0.05) / (dark + 0.05);
      if (ratio < least) found.set(text.getAttribute('class'), `${ink} on ${paper} is ${ratio.toFixed(1)} to 1: ${text.textContent}`);
    }
    return [...found].map(([kind, fault]) => `has faint text of the kind "${kind}" in a picture: ${fault}`);
  }, CONTRAST);
