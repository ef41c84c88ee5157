// TanStack AI's own client, without a page. It tells each chunk, and how the run ended, in a JSON object a line.
//
// node tanstack.js OPTIONS   with {url, headers, threadId, words}; or with {url, headers, join}, to join a run by its id
import { ChatClient, fetchServerSentEvents } from "@tanstack/ai-client";

const options = JSON.parse(process.argv[2]);
const tell = (change) => process.stdout.write(`${JSON.stringify(change)}\n`);

const connection = fetchServerSentEvents(options.url, { headers: options.headers });
try {
  if (options.join) {
    for await (const chunk of connection.joinRun(options.join)) tell({ chunk });
    tell({ end: "finished" });
  } else {
    const client = new ChatClient({
      connection,
      threadId: options.threadId,
      onChunk: (chunk) => tell({ chunk }),
      onError: (error) => tell({ error: error.message }),
    });
    await client.sendMessage(options.words);
    tell({ status: client.getStatus(), messages: client.getMessages() });
  }
} catch (error) {
  tell({ end: "failed", error: error.message });
}
process.exit();
