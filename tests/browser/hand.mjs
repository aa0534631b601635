// What a hand does with a mouse. What is wanted is brought to the middle of the window first, as people do: at its edge something else can lie over it.

const bring = element => element.evaluate(element => element.scrollIntoView({ block: 'center', behavior: 'instant' }));

/** Clicks. */
export async function click(element) {
  await bring(element);
  await element.click();
}

/** Points. */
export async function point(element) {
  await bring(element);
  await element.hover();
}
