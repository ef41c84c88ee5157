/** What the chat page uses of markdown-it; its own declarations are in the package. */
export interface Token {
  type: string;
  tag: string;
  nesting: -1 | 0 | 1;
  content: string;
  info: string;
  markup: string;
  hidden: boolean;
  block: boolean;
  map: [number, number] | null;
  children: Token[] | null;
  attrGet(name: string): string | null;
}

export default class MarkdownIt {
  constructor(options: { html: boolean; linkify: boolean });
  inline: { ruler: { before(name: string, ownName: string, rule: (state: any, isSilent: boolean) => boolean): void } };
  block: {
    ruler: {
      before(
        name: string,
        ownName: string,
        rule: (state: any, startLine: number, endLine: number, isSilent: boolean) => boolean,
        options: { alt: string[] },
      ): void;
    };
  };
  linkify: { set(options: Record<string, boolean>): void };
  parse(source: string, env: object): Token[];
}
