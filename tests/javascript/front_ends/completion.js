// One request of OpenAI's own library. It tells each piece of text, and how the answer ended, in a JSON object a line.
//
// node completion.js OPTIONS   with {url, key, headers, words, stream}
import OpenAI from "openai";

const options = JSON.parse(process.argv[2]);
const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);

const client = new OpenAI({ baseURL: options.url, apiKey: options.key, defaultHeaders: options.headers });
const messages = [{ role: "user", content: options.words }];
try {
  const answer = await client.chat.completions.create({ model: "agent", messages, stream: options.stream });
  if (options.stream) {
    for await (const chunk of answer) {
      const [choice] = chunk.choices;
      tell({ text: choice.delta.content ?? "", finish: choice.finish_reason });
    }
  } else {
    const [choice] = answer.choices;
    tell({ text: choice.message.content, finish: choice.finish_reason });
  }
  tell({ end: "finished" });
} catch (error) {
  tell({ end: "failed", error: error.message, status: error.status });
}
