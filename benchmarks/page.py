"""From key press to drawn: `python -m benchmarks.page`.

A headless Chromium types into the running page, one key after the other, each when the last answer is drawn; the time
runs in the page, from the key's event to the first frame after the viewer drew the answer. Beside it, in the same run,
an app that only echoes the text into a gr.HTML, with the same way of posting: what Gradio itself takes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time

from playwright.sync_api import Page, Response, sync_playwright

from benchmarks.running import free_port, sentence, start

BOUND = 150  # milliseconds, 95th percentile
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")

ECHO = """
import sys
import gradio as gr

with gr.Blocks(analytics_enabled=False) as blocks:
    text = gr.Textbox(elem_id="sentence", lines=2)
    echo = gr.HTML("", html_template="<p class='echo'></p>", elem_id="echo",
        js_on_load="watch('value', () => { element.querySelector('.echo').textContent = props.value; })")
    text.input(lambda t: t, text, echo, queue=False, show_progress="hidden", trigger_mode="multiple")
blocks.launch(server_port=int(sys.argv[1]), quiet=True, ssr_mode=False)
"""

# Resolves with the milliseconds from the next key's event to the frame in which the answer to it stands.
WATCH = """
([where, ready]) => { window.measured = new Promise((resolve) => {
  let start = null;
  document.querySelector('#sentence textarea').addEventListener('input', () => { start = performance.now(); },
    {once: true, capture: true});
  const place = document.querySelector(where);
  const watcher = new MutationObserver(() => {
    if (start === null || !eval(ready)) return;
    watcher.disconnect();
    requestAnimationFrame(() => resolve(performance.now() - start));
  });
  watcher.observe(place, {subtree: true, childList: true, characterData: true, attributes: true});
}); }
"""


def measure(page: Page, where: str, ready: str, text: str, presses: int) -> list[float]:
    """Milliseconds for each of so many key presses at the end of a text."""
    page.fill("#sentence textarea", text)
    time.sleep(1.5)
    page.locator("#sentence textarea").press("Control+End")
    taken = []
    for _ in range(presses + 5):
        page.evaluate(WATCH, [where, ready])
        page.keyboard.press("s")
        answer = page.evaluate("() => Promise.race([window.measured, new Promise((no) => setTimeout(no, 5000))])")
        if answer is None:
            raise SystemExit(f"{page.url} did not answer a key press within 5 seconds.")
        taken.append(answer)
        time.sleep(0.03)
    return taken[5:]  # the first ones warm up


def row(name: str, taken: list[float], note: str) -> str:
    """A line of the table."""
    return f"| {name} | {statistics.median(taken):.0f} | {statistics.quantiles(taken, n=20)[18]:.0f} | {note} |"


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--presses", type=int, default=60)
    args = parser.parse_args()
    ports = free_port(), free_port()
    processes = [
        start([sys.executable, "app.py", "--port", str(ports[0])], ports[0]),
        start([sys.executable, "-c", ECHO, str(ports[1])], ports[1]),
    ]
    try:
        with sync_playwright() as playwright:
            installed = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=installed, args=list(FLAGS))
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            answers: list[Response] = []
            page.on("response", lambda answer: answers.append(answer) if "/run/" in answer.url else None)
            page.goto(f"http://127.0.0.1:{ports[0]}/")
            page.wait_for_selector(".unrolled .panel")
            drawn = "!document.querySelector('.unrolled').classList.contains('stale')"
            text = sentence(args.tokens)
            ours = measure(page, ".unrolled", drawn, text, args.presses)
            size = len(answers[-1].body()) / 1000
            page.goto(f"http://127.0.0.1:{ports[1]}/")
            page.wait_for_selector("#echo .echo", state="attached")
            same = "place.textContent.trim() === document.querySelector('#sentence textarea').value"
            echo = measure(page, "#echo", same, text, args.presses)
            browser.close()
    finally:
        for process in processes:
            process.terminate()
    print(f"{args.tokens} tokens, {args.presses} key presses, headless Chromium, {os.cpu_count()} cores\n")
    print("| page | median, ms | p95, ms | answer, KB |\n|---|---:|---:|---:|")
    print(row("Unrolled, both classifiers", ours, f"{size:.0f}"))
    print(row("an echo through Gradio", echo, "0"))
    kept = statistics.quantiles(ours, n=20)[18] <= BOUND
    print(f"\np95 at most {BOUND} ms: {'yes' if kept else 'no'}")


if __name__ == "__main__":
    main()
