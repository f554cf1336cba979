"""What the status page must do while it lives: nothing that somebody reads, has selected or focused is disturbed; each
button says what it did; all works by keyboard and for screen readers. And pictures of it, for people to look at."""
import os
import pathlib
import time
import unittest

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import PATIENCE, Browser, still_there, wait_until
from close import Close
from site_under_test import SIGNATURE_KEY, TREE, Site

RULES = (TREE / "tests/browser/accessible.js").read_text()
# In one go: between two scripts the page may get a new row, which is coloured.
RULES_WHEN_STILL = "if (document.getAnimations().length > 0) return null; return {wrong: (() => {" + RULES + "})()};"
LIVE_SECONDS = 10
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 390)}

# Notes which of the rows that are there are taken out, put elsewhere, or changed.
WATCH = """
window.touched = [];
const opened = document.querySelector("tr.opened"), rows = new Set(document.querySelectorAll("#events > tr"));
new MutationObserver((changes) => {
  for (const change of changes) {
    for (const node of change.removedNodes) if (rows.has(node)) window.touched.push("taken out: " + node.textContent.slice(0, 60));
    if (change.target !== opened.parentElement && opened.contains(change.target)) window.touched.push("changed: " + change.target.nodeName);
  }
}).observe(document.getElementById("events"), { childList: true, subtree: true, attributes: true, characterData: true });
const pre = opened.querySelector("pre");
pre.scrollTop = 150;
pre.focus({ preventScroll: true });
const range = document.createRange();
range.setStart(pre.firstChild, 5);
range.setEnd(pre.firstChild, 45);
getSelection().removeAllRanges();
getSelection().addRange(range);
return getSelection().toString();
"""
LOOK = """
const pre = document.querySelector("tr.opened pre");
return [getSelection().toString(), document.activeElement === pre, pre.scrollTop, window.touched];
"""


class Page(unittest.TestCase):
    def setUp(self):
        self.close = None
        self.browsers = []
        self.site = None
        self.addCleanup(self.tidy)

    def tidy(self):
        for browser in self.browsers:
            browser.quit()
        if self.site is not None:
            self.site.stop()
        if self.close is not None:
            self.close.stop()

    def start(self, more="", source=f"signature_key = {SIGNATURE_KEY}\n"):
        self.site = Site("lighttpd", more, source)

    def look(self, **options):
        browser = Browser(**options)
        self.browsers.append(browser)
        browser.log_in(self.site)
        wait_until(lambda: browser.text("#live") == "live", PATIENCE, "the page is live")
        return browser

    def shoot(self, browser, name, height=1500):
        """In light, dark and at a phone's width; each is judged by the rules."""
        for look, (scheme, width) in LOOKS.items():
            browser.wear(scheme, width)
            time.sleep(0.1)  # the new styles are drawn
            browser.shoot(f"{name}-{look}", height if look != "phone" else height * 2)
            self.judge(browser, f"{name}, {look}")
        browser.wear("light", 1280)

    def judge(self, browser, what):
        judged = lambda: browser.driver.execute_script(RULES_WHEN_STILL)
        self.assertEqual([], wait_until(judged, PATIENCE, "new rows have lost their colour")["wrong"], what)
        inside = browser.driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        self.assertTrue(inside, f"{what}: nothing sticks out")
        axe = os.environ.get("AXE_CORE")  # axe.min.js, where somebody has it: Debian does not
        if axe:
            browser.driver.execute_script(pathlib.Path(axe).read_text(encoding="utf-8") + ";window.axe = axe;")
            found = browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
            self.assertEqual([], [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]], what)

    def say(self, browser, words):
        wait_until(lambda: words in browser.text("#notice"), PATIENCE, f"it says: {words}")

    def rows(self, browser):
        return still_there(lambda: [row.text for row in browser.all("#events > tr:not(.opened)")])

    def open_first(self, browser):
        wait_until(lambda: browser.click("#events > tr:not(.opened) a"), PATIENCE, "it can be opened")
        wait_until(lambda: browser.all("tr.opened pre"), PATIENCE, "it opens")

    def test_nothing_is_disturbed_while_it_lives(self):
        """An opened event keeps selection, scroll and focus; only rows that changed are touched."""
        self.start()
        browser = self.look()
        for i in range(5):
            self.site.send(f"ev_{i}", lead="lead_first", note="long " * 2000)
        wait_until(lambda: len(self.rows(browser)) == 5 and "waiting" not in browser.text("#events"), PATIENCE, "all are delivered")
        self.open_first(browser)
        selected = browser.driver.execute_script(WATCH)
        self.assertEqual(40, len(selected))
        end = time.monotonic() + LIVE_SECONDS
        sent = 0
        while time.monotonic() < end:
            self.assertEqual(200, self.site.send(f"ev_live_{sent}", lead=f"lead_{sent % 5}"))
            sent += 1
            time.sleep(0.2)
        wait_until(lambda: len(self.rows(browser)) in (min(5 + sent, 100), 101), PATIENCE, f"all {sent} are shown")
        self.assertEqual([selected, True, 150, []], browser.driver.execute_script(LOOK))
        self.assertEqual([], browser.errors())

    def test_a_waiting_event_and_its_attempts(self):
        """Opened while it waits, it stays open when it is delivered; each attempt is told; Try now does."""
        self.start()
        browser = self.look()
        self.site.plane.retry_after = "600"  # by itself it is not tried again in this test
        self.site.plane.fault = (503, b"back in a moment")
        self.site.send("ev_1", lead="lead_waits")
        wait_until(lambda: "waiting" in browser.text("#events"), PATIENCE, "it waits")
        self.open_first(browser)
        wait_until(lambda: "503" in browser.text("tr.opened"), PATIENCE, "a failed attempt is told")
        self.assertIn("ev_1", browser.text("tr.opened"))
        wait_until(lambda: browser.all(".finding > form button"), PATIENCE, "there is a button for it")
        browser.click(".finding > form button")
        self.say(browser, "back in a moment")
        self.site.plane.fault = None
        wait_until(lambda: browser.all(".finding > form button") and browser.click(".finding > form button"), PATIENCE, "once more")
        self.say(browser, "The data plane takes the write key. What waits is sent now, "
                          "and what is held back is tried.")
        wait_until(lambda: "delivered" in browser.text("#events > tr"), PATIENCE, "it is delivered")
        wait_until(lambda: "taken" in browser.text("tr.opened"), PATIENCE, "so is the last attempt told")
        self.assertIn("503", browser.text("tr.opened"))
        browser.wait_text("#state", "All is well.")

    def test_each_button(self):
        self.close = Close()
        self.start(source=f"signature_key = {SIGNATURE_KEY}\nclose_api_key = api_1\nclose_api_url = {self.close.url}\n")
        self.close.subscription["url"] = self.site.url + "/acme"
        browser = self.look()
        browser.click("#steps button, .url form:last-of-type button")
        self.say(browser, "The test got through")
        self.assertEqual(0, len(self.site.plane.messages), "nothing was forwarded")
        self.assertEqual("0", browser.text("[data-fact=accepted]"))
        wait_until(lambda: "Close has paused the subscription" in browser.text("#findings"), PATIENCE, "that is told")
        self.assertEqual("1 thing is wrong", browser.text("#state"))
        wait_until(lambda: browser.driver.title == "1 thing is wrong - closecrm.fcgi", PATIENCE, "the title follows")
        icon = browser.driver.execute_script("return document.querySelector('link[rel=icon]').href")
        self.assertIn("b3261e", icon)
        browser.click(".finding > form button")
        self.say(browser, "whsub_1 is active again: Close sends.")
        self.assertEqual("active", self.close.subscription["status"])
        wait_until(lambda: "paused" not in browser.text("#findings"), PATIENCE, "it is not wrong any more")

        self.site.make_dead("lead_a", "lead_b")
        wait_until(lambda: browser.all("#findings summary"), PATIENCE, "dead letters are told")
        wait_until(lambda: len(browser.all("#letters tr")) == 2, PATIENCE, "both")
        self.assertIn("lead_a", browser.text("#letters"))
        self.assertIn("ev_lead_a", browser.text("#letters"))
        self.assertIn("opportunity updated", browser.text("#letters"))
        browser.click("#findings summary")
        self.assertIn("2 dead letters of acme will be sent again", browser.text("#findings"))
        self.site.plane.refused_text = None
        browser.click("#findings .confirm button")
        self.say(browser, "2 dead letters of acme are on their way again.")
        wait_until(lambda: {"ev_lead_a", "ev_lead_b"} <= {m["messageId"] for m in self.site.plane.messages}, PATIENCE, "they arrive")
        wait_until(lambda: browser.text("#state") == "All is well.", PATIENCE, "all is well")
        self.assertIn("177245", browser.driver.execute_script("return document.querySelector('link[rel=icon]').href"))
        self.assertEqual([], browser.errors())

    def test_by_keyboard_and_looked_for(self):
        self.start()
        for i, kind in enumerate(["lead", "task.lead", "activity.email", "lead"]):
            self.site.send(f"ev_{i}", lead=f"lead_{i}", kind=kind, note="needle" if i == 2 else "hay")
        browser = self.look()
        wait_until(lambda: len(self.rows(browser)) == 4 and "waiting" not in browser.text("#events"), PATIENCE, "all are delivered")
        keys = lambda *what: ActionChains(browser.driver).send_keys(*what).perform()
        focused = lambda: browser.driver.switch_to.active_element
        passed = []
        browser.driver.execute_script("document.activeElement.blur(); getSelection().removeAllRanges()")
        for _ in range(40):
            keys(Keys.TAB)
            passed.append(focused().get_attribute("name") or focused().text.splitlines()[:1] or focused().tag_name)
            if focused().get_attribute("data-open") is not None:
                break
        self.assertIn("text", passed, passed)
        self.assertIsNotNone(focused().get_attribute("data-open"), passed)
        link = focused()
        keys(Keys.ENTER)
        wait_until(lambda: browser.all("tr.opened pre"), PATIENCE, "it opens by Enter")
        refreshed = "document.querySelector('tr.opened').previousElementSibling.title = 'to be removed'"
        browser.driver.execute_script(refreshed)
        wait_until(lambda: not browser.all("tr[title]"), PATIENCE, "the page is refreshed")
        self.assertEqual("true", link.get_attribute("aria-expanded"))
        reached = []
        for _ in range(4):
            keys(Keys.TAB)
            reached.append(focused().tag_name)
        self.assertIn("pre", reached, "the body can be scrolled")
        browser.driver.execute_script("arguments[0].focus()", link)
        keys(Keys.ENTER)
        wait_until(lambda: not browser.all("tr.opened"), PATIENCE, "and closes")
        for name, typed, found in [("text", "NEEDLE", ["lead_2"]), ("type", "lead", ["lead_3", "lead_0"]), ("lead", "lead_1", ["lead_1"])]:
            browser.driver.find_element(By.NAME, name).send_keys(typed)
            cells = lambda: [cell.text for cell in browser.all("#events > tr > td:nth-child(3)")]
            wait_until(lambda: cells() == found, PATIENCE, f"{name} {typed}: {found}")
            # On a slow machine it is looked for before the last letter is typed.
            wait_until(lambda: f"{name}={typed}" in browser.driver.current_url, PATIENCE, f"the address says {name}={typed}")
            browser.driver.find_element(By.NAME, name).send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
            wait_until(lambda: len(cells()) == 4, PATIENCE, "all again")
        browser.driver.find_element(By.NAME, "state").send_keys("dead")
        wait_until(lambda: self.rows(browser) == ["None of the sample fits."], PATIENCE, "none is dead")
        browser.click(".clear")
        wait_until(lambda: len(self.rows(browser)) == 4, PATIENCE, "all again")

    def test_pictures(self):
        """Of what people see first, when all is well, when it is not. None breaks the rules for accessible pages."""
        self.start(source="")
        browser = self.look()
        self.shoot(browser, "nothing-yet", 1400)
        self.site.stop()
        self.start("lanes = 1\n")
        browser = self.look()
        kinds = ["lead", "opportunity", "activity.email", "task.lead"]
        for i in range(14):
            self.site.send(f"ev_{i}", lead=f"lead_{i % 7}", kind=kinds[i % 4], action=["created", "updated"][i % 2])
        wait_until(lambda: len(self.rows(browser)) == 14 and "waiting" not in browser.text("#events"), PATIENCE, "they are delivered")
        self.shoot(browser, "all-well", 1900)
        self.site.make_dead("lead_bad")
        wait_until(lambda: "dead letter is kept" in browser.text("#findings"), PATIENCE, "it is dead")
        wait_until(lambda: "lead_good" in browser.text("#events") and "waiting" not in browser.text("#events"), PATIENCE, "the other is delivered")
        self.site.plane.fault = (503, b"upstream connect error")
        self.site.send("ev_late", lead="lead_late", kind="activity.call", action="created", note="A call with the customer")
        wait_until(lambda: "attempt" in browser.text("#findings"), PATIENCE, "it is away")
        self.open_first(browser)
        wait_until(lambda: len(browser.all("tr.opened tbody tr")) > 2, PATIENCE, "it was tried three times")
        self.shoot(browser, "opened", 2300)
        browser.click("tr:has(+ tr.opened) a")
        self.site.plane.wrong_key = True
        self.site.plane.fault = None
        tried = lambda: "data plane refuses" in browser.text("#findings") or browser.click(".finding > form button") and None
        wait_until(tried, PATIENCE, "the refusal is told")
        self.assertEqual("2 things are wrong", browser.text("#state"))
        classes = [finding.get_attribute("class") for finding in browser.all("#findings > li")]
        self.assertEqual(["finding bad", "finding worry"], classes, "the gravest first")
        self.shoot(browser, "two-troubles", 1700)
