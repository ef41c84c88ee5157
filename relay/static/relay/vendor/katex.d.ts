/** KaTeX, as a plain script, leaves `katex` on `globalThis`. */
export {};

declare global {
  var katex: {
    render(
      tex: string,
      element: HTMLElement,
      options: {
        displayMode: boolean;
        output: 'mathml';
        throwOnError: boolean;
        trust: boolean;
        strict: 'ignore';
        maxExpand: number;
        maxSize: number;
      },
    ): void;
  };
}
