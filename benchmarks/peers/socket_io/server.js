/**
 * A relay on Socket.IO with connection state recovery: a room for each session, and packets kept in memory for two minutes.
 *
 * A client opens `/ws/<session>/`, so that the benchmark's viewers find every system at the same path.
 */

import { createServer } from "node:http";
import { Server } from "socket.io";

const [port] = process.argv.slice(2).map(Number);
const http = createServer();
const io = new Server(http, {
  path: "/ws/",
  serveClient: false,
  transports: ["websocket"],
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
});

io.on("connection", (socket) => {
  const sessionId = socket.handshake.url.split("/")[2];
  socket.join(sessionId);
  socket.on("message", (message) => relay(sessionId, message));
});

async function relay(sessionId, message) {
  const response = await fetch(`${process.env.AGENT_URL}/agent/message/stream`, {
    method: "POST",
    body: JSON.stringify({ session_id: sessionId, ...message }),
  });
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) io.to(sessionId).emit("frame", JSON.parse(line.slice("data: ".length)));
    }
  }
}

http.listen(port, "127.0.0.1", 4096);
