// Loaded before the snippet, which stays as published: takes a free port instead of the one it names, and says which.
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  this.once('listening', () => console.log(`listening on ${this.address().port}`));
  return listen.call(this, { port: 0, host: '127.0.0.1' }, ...rest);
};
