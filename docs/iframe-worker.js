// The search of the site when it is opened from disk: browsers refuse workers from file:// addresses, so that a hidden
// frame takes the place of the worker. Served pages keep the worker of the browser.
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.appendChild(frame);
    const inside = frame.contentWindow;
    inside.document.open();
    inside.document.write("<!doctype html><html><head></head><body></body></html>");
    inside.document.close();
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    inside.importScripts = (...urls) => Promise.all(urls.map((each) => load(inside, each)));
    this.inside = inside;
    this.ready = load(inside, url);
  }

  postMessage(data) {
    this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
  }

  terminate() {
    this.inside.frameElement.remove();
  }
}

function load(inside, url) {
  return new Promise((resolve, reject) => {
    const script = inside.document.createElement("script");
    script.src = new URL(url, location.href).href;
    script.onload = resolve;
    script.onerror = reject;
    inside.document.head.appendChild(script);
  });
}

if (location.protocol === "file:") {
  window.Worker = FrameWorker;
}
