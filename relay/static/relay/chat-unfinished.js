/**
 * Markdown that is still being written, made ready to draw: marks that are not closed yet do not flash up.
 *
 * @module chat-unfinished
 */

const LONE_MARKS = /(^|\n)[ \t>]*(?:[-+*=_#`~|$:\\]*|\d{1,3}[.)]?|[-*+] \[[ xX]?\]?)[ \t]*$/; // it is not known yet what such a last line starts
const TABLE_HEAD = /(^|\n)[ \t]*\|[^\n]*(?:\n[ \t]*\|?[-:| \t]*)?$/; // a table is known by its second row

/** @param {string} source a text that ends in an unfinished block, and starts with one @returns {string} */
export function presentable(source) {
  if (isInFence(source)) return source.replace(/\n[ \t]*[`~]{1,}$/, '');
  const held = source.replace(LONE_MARKS, '');
  const isTable = /\n[ \t]*\|?[ \t]*:?-+:?[ \t]*\|[^\n]*\n/.test(source);
  const shown = isTable || !TABLE_HEAD.test(lastParagraph(held)) ? held : held.slice(0, held.length - lastParagraph(held).length);
  return closeMarks(shown);
}

/** @param {string} source */
function isInFence(source) {
  let fence = '';
  for (const line of source.split('\n')) {
    const mark = /^[ \t>]*(?:[-*+]|\d+[.)])?[ \t]*(`{3,}|~{3,})([^\n]*)$/.exec(line);
    if (!mark) continue;
    if (!fence) fence = mark[1];
    else if (mark[1].startsWith(fence) && !mark[2].trim()) fence = '';
  }
  return fence !== '';
}

/** @param {string} text */
function lastParagraph(text) {
  return text.slice(text.lastIndexOf('\n\n') + 1);
}

/** Close what the last line opens. @param {string} text */
function closeMarks(text) {
  const start = text.lastIndexOf('\n') + 1;
  let line = text.slice(start);
  if ((line.match(/`/g) ?? []).length % 2) return /`\s*$/.test(line) ? text.replace(/`+\s*$/, '') : `${text}\``;
  line = line.replace(/!?\[([^\]\n]*)(?:\](?:\([^)\n]*)?)?$/, '$1').replace(/[*_~]+$/, '');
  const bare = line.replace(/`[^`]*`/g, '');
  const isListMark = /^\s*[*]\s/.test(bare);
  const open = ['**', '~~', '__'].filter((mark) => (bare.split(mark).length - 1) % 2);
  const stars = bare.replaceAll('**', '').split('*').length - 1 - Number(isListMark);
  const closed = line.trimEnd() + (stars % 2 === 1 && /(^|\s)\*\S/.test(bare.replaceAll('**', '')) ? '*' : '') + open.reverse().join('');
  return text.slice(0, start) + (closed === line.trimEnd() ? line : closed);
}
