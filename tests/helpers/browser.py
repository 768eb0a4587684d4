"""Pages in a real browser, without a display."""

import html
import json
import re
import shutil
import subprocess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# what a page says of itself, once it is there
CHECK = """
<script>
window.addEventListener("load", () => {
  const found = {};
  %s
  document.title = JSON.stringify(found);
});
</script>
"""
FRAME = """
<body style="margin: 0"><iframe id="page" src="checked.html" style="border: 0; width: %dpx; height: %dpx"></iframe>
<script>onload = () => setTimeout(() => { document.title = page.contentDocument.title }, 500)</script></body>
"""


def look(page, folder, script, width=1600, height=1200, flags=()):
    """Open a page in the browser, run a script in it and return what it found.

    Args:
        page: the HTML file
        folder: where the browser may write
        script: JavaScript that fills the object `found`
        width: of the window, in pixels
        height: of the window
        flags: of the browser

    Returns:
        what was found, and what the browser's console says
    """
    copy, frame = page.with_name("checked.html"), page.with_name("frame.html")
    # errors of the page's own script come before those of the check
    copy.write_text(page.read_text().replace("</body>", CHECK % script + "</body>"))
    # a window is at least 500 pixels wide: narrower pages are looked at in a frame, whose title is handed on
    frame.write_text(FRAME % (width, height))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    command += [f"--window-size={max(500, width)},{height}", "--dump-dom"]
    ran = subprocess.run([*command, *flags, frame.as_uri()], capture_output=True, text=True, timeout=240, check=True)
    for written in (copy, frame):
        written.unlink()
    title = re.search(r"<title>(.*?)</title>", ran.stdout, re.S)
    said = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(title[1])), said
