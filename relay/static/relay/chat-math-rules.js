/**
 * Formulas in Markdown: `$…$` and `\(…\)` within a paragraph, `$$…$$` and `\[…\]` as a block.
 *
 * A dollar sign delimits a formula only if there is no space on its inner side and no digit follows, as in Pandoc: `$5 and $6` is text.
 *
 * @module chat-math-rules
 */

const BLOCK_MARKS = [['$$', '$$'], ['\\[', '\\]']];
const INLINE_MARKS = [['$$', '$$'], ['$', '$'], ['\\(', '\\)'], ['\\[', '\\]']];

/** @param {import('./vendor/markdown-it.js').default} parser */
export function addMathRules(parser) {
  parser.inline.ruler.before('escape', 'math_inline', inlineRule);
  parser.block.ruler.before('fence', 'math_block', blockRule, { alt: ['paragraph', 'blockquote', 'list'] });
}

/** @param {any} state markdown-it's @param {boolean} isSilent */
function inlineRule(state, isSilent) {
  const marks = INLINE_MARKS.find(([open]) => state.src.startsWith(open, state.pos));
  if (!marks) return false;
  const [open, close] = marks;
  const start = state.pos + open.length;
  const end = state.src.indexOf(close, start);
  if (end <= start || end + close.length > state.posMax) return false;
  const tex = state.src.slice(start, end);
  if (open === '$' && (/^\s|\s$|\n\n/.test(tex) || /^\d/.test(state.src.slice(end + 1, end + 2)) || tex.endsWith('\\'))) return false;
  if (!isSilent) {
    const token = state.push('math_inline', 'math', 0);
    token.content = tex.trim();
    token.markup = open;
  }
  state.pos = end + close.length;
  return true;
}

/** @param {any} state markdown-it's @param {number} startLine @param {number} endLine @param {boolean} isSilent */
function blockRule(state, startLine, endLine, isSilent) {
  if (state.sCount[startLine] - state.blkIndent >= 4) return false; // that is code
  const start = state.bMarks[startLine] + state.tShift[startLine];
  const marks = BLOCK_MARKS.find(([open]) => state.src.startsWith(open, start));
  if (!marks) return false;
  const found = findEnd(state, startLine, endLine, start + marks[0].length, marks[1]);
  if (!found) return false;
  if (isSilent) return true;
  const token = state.push('math_block', 'math', 0);
  token.block = true;
  token.content = found.tex.trim();
  token.map = [startLine, found.line + 1];
  state.line = found.line + 1;
  return true;
}

/** @param {any} state @param {number} startLine @param {number} endLine @param {number} contentStart @param {string} close */
function findEnd(state, startLine, endLine, contentStart, close) {
  const lines = [];
  for (let line = startLine; line < endLine; line++) {
    const lineStart = line === startLine ? contentStart : state.bMarks[line] + Math.min(state.tShift[line], state.blkIndent);
    const text = state.src.slice(lineStart, state.eMarks[line]);
    const end = text.indexOf(close);
    if (end < 0) lines.push(text);
    else if (text.slice(end + close.length).trim()) return null; // text follows: it is not a block
    else return { line, tex: [...lines, text.slice(0, end)].join('\n') };
  }
  return null;
}
