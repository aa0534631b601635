// A page is HTML as the standard has it.

import { HtmlValidate } from 'html-validate';

const validator = new HtmlValidate({ root: true, extends: ['html-validate:recommended', 'html-validate:document'] });

export async function valid(file) {
  const { results } = await validator.validateFile(file);
  return results.flatMap(({ messages }) => messages.map(({ line, column, ruleId, message }) => `${line}:${column} ${ruleId}: ${message}`));
}
