"""As much of W&B's server as runs, resumes, uploads and saved boards ask for, on this machine. No authentication."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WandbServer:
    """``with WandbServer() as server: server.url, server.runs[id]["history"], server.views``."""

    def __init__(self):
        self.runs, self.views = {}, []

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def rows(self, run):
        return [json.loads(line) for line in self.runs[run]["history"]]

    def answer(self, operation, query, variables):
        run = self.runs.get(variables.get("name"))
        if operation == "RunResumeStatus":
            return {"model": {"id": "p", "name": "p", "entity": ME, "bucket": run and _bucket(variables["name"], run)}}
        if operation == "UpsertBucket":
            new = run is None
            run = self.runs.setdefault(variables["name"], {"history": [], "summary": "{}", "exit": None})
            kept = {key: variables.get(key) for key in ("displayName", "groupName", "tags") if variables.get(key)}
            run.update(kept)
            bucket = _bucket(variables["name"], run)
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/file/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "upsertView" in query:
            self.views.append(variables)
            return {"upsertView": {"view": {"id": "v", "name": "nw-abc-v"}, "inserted": True}}
        version = {"cliVersionInfo": {"max_cli_version": "99.0"}, "latestLocalVersionInfo": None, "features": []}
        viewer = {**ME, "entity": "me", "username": "me", "flags": "{}", "email": "", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": version}

    def stream(self, run, content):
        known = self.runs[run]
        for name, part in (content.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                known["history"][part["offset"] :] = part["content"]
            elif name == "wandb-summary.json":
                known["summary"] = part["content"][-1]
        if content.get("complete") is not None:
            known["exit"] = content.get("exitcode")

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    content = gzip.decompress(content)
                if self.path.endswith("/file_stream"):
                    self._send(server.stream(self.path.split("/")[-2], json.loads(content)) or {})
                elif self.path.endswith("/graphql"):
                    asked = json.loads(content)
                    operation = asked.get("operationName") or asked["query"].split("(")[0].split()[-1]
                    data = server.answer(operation, asked["query"], asked.get("variables") or {})
                    self._send({"data": data})
                else:
                    self._send({})

            def do_PUT(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._send({})

            do_GET = do_PUT

            def _send(self, content):
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


ME = {"id": "e", "name": "me"}


def _bucket(name, run):
    lines = run["history"]
    return {
        "id": "r",
        "name": name,
        "displayName": run.get("displayName"),
        "description": "",
        "sweepName": None,
        "project": {"id": "p", "name": "strokelab", "entity": ME},
        "historyLineCount": len(lines),
        "eventsLineCount": 0,
        "logLineCount": 0,
        "historyTail": json.dumps(lines[-1:]),
        "eventsTail": "[]",
        "config": "{}",
        "summaryMetrics": run["summary"],
        "tags": [],
        "wandbConfig": '{"t": 1}',
    }
