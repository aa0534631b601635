// A place in a picture shows that it is pointed at, and has something to say then.

import { point } from '../hand.mjs';

/** Points at the middle one of such places in each picture that is seen. Gives the faults, and how many places were pointed at. */
export async function points(page) {
  const faults = [];
  let pointed = 0;
  for (const picture of await page.$$('svg[role=img]')) {
    if (!(await picture.boundingBox())) continue;
    const places = await picture.$$('.hover');
    const place = places[Math.floor(places.length / 2)];
    if (!place) continue;
    const look = () => place.evaluate(place => [place.matches(':hover'), getComputedStyle(place).fill, place.querySelector('title')?.textContent.trim()]);
    await page.mouse.move(0, 0);
    const [, before] = await look();
    await point(place);
    const [hovered, after, told] = await look();
    if (!hovered || before === after) faults.push('does not show what is pointed at');
    if (!told) faults.push('says nothing of what is pointed at');
    pointed += 1;
  }
  return { faults, count: pointed };
}
