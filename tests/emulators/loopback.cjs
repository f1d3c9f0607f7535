// Loaded before a program that listens on all interfaces (`node --require`): makes it listen on 127.0.0.1 only.
const { Server } = require("node:net");

const listen = Server.prototype.listen;

Server.prototype.listen = function (port, ...others) {
  const done = others.find((one) => typeof one === "function");
  const named = typeof port === "object" && port !== null ? port : { port };
  return listen.call(this, { ...named, host: "127.0.0.1" }, done);
};
