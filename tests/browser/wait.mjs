// Waiting for what is certain to come, with a bound: no sleep is a guess at how long something takes.

import { setTimeout as pause } from 'node:timers/promises';

const PATIENCE_MS = 20_000;
const PAUSE_MS = 20;

/** What `condition` gives as soon as it gives something; after the bound an error that says what did not come. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`gave up waiting until ${what}`);
    await pause(PAUSE_MS);
  }
}
