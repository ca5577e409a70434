// Node's `ws` as the peer of bench/fan_out.py: every client that connects is in the one room.
// node fan_out.mjs <folder of the package ws> <port> <frames> <payload bytes>; SIGUSR2 sends the frames.
const [, , folder, port, frames, size] = process.argv;
const { WebSocketServer } = await import(`${folder}/wrapper.mjs`);
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), perMessageDeflate: false, backlog: 2048 });
server.on("listening", () => console.log("ready"));
process.on("SIGUSR2", async () => {
  const data = "x".repeat(Number(size));
  for (let n = 0; n < Number(frames); n += 1) {
    const frame = JSON.stringify({ event: "ws:observation.sale.sale-order", data });
    for (const client of server.clients) client.send(frame);
    await new Promise(setImmediate);
  }
});
