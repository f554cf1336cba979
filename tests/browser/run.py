#!/usr/bin/python3
"""Drives the status page in headless Chromium, through lighttpd and through Apache, as its operator would; leaves
screenshots in build/browser for people to look at. `make test-browser` runs it."""
import subprocess
import time
import unittest

from selenium.webdriver.common.by import By

from browser import PATIENCE, Browser, wait_until
from page_tests import Page
from site_under_test import TREE, WRITE_KEY, Site

__all__ = ["Page"]
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


class StatusPage:
    """The tests; one class for each web server below."""

    server = None

    def setUp(self):
        self.site = Site(self.server, "remove = data.secret")
        self.browsers = []
        self.failed_before = self.failed()
        self.addCleanup(self.tidy)

    def tidy(self):
        for browser in self.browsers:
            browser.quit()
        self.site.stop(show_log=self.failed() > self.failed_before)

    def failed(self):
        return len(self._outcome.result.errors) + len(self._outcome.result.failures)

    def browser(self, **options):
        self.browsers.append(Browser(**options))
        self.browsers[-1].log_in(self.site)
        return self.browsers[-1]

    def row_of(self, browser, lead, state):
        """The first row of an event about that lead in that state."""
        for row in browser.all("#events tr"):
            cells = row.find_elements(By.TAG_NAME, "td")
            if len(cells) == 6 and cells[2].text == lead and state in cells[5].text:
                return row
        return None

    def wait_row(self, browser, lead, state):
        wait_until(lambda: self.row_of(browser, lead, state), PATIENCE, f"the event of {lead} is {state}")

    def open_row(self, browser, lead, state):
        """The page may draw its rows anew between finding one and clicking on it: then it is tried again."""

        def clicked():
            row = self.row_of(browser, lead, state)
            if row is not None:
                row.find_element(By.TAG_NAME, "a").click()
            return row is not None

        wait_until(clicked, PATIENCE, f"the event of {lead} can be opened")

    def test_live(self):
        """An event appears, is opened, dies, is replayed, and is seen to be delivered."""
        browser = self.browser()
        wait_until(lambda: browser.text("#live") == "live", PATIENCE, "the page is live")
        self.assertEqual("Waiting for the first event", browser.text("#state"))
        self.assertIn("/closecrm/acme", browser.text(".address"))

        self.assertEqual(200, self.site.send("ev_1", lead="lead_first", note=EVIL))
        self.wait_row(browser, "lead_first", "delivered")
        browser.wait_text("[data-fact=delivered]", "1")

        self.open_row(browser, "lead_first", "delivered")
        bodies = wait_until(lambda: browser.texts("tr.opened pre", 2), PATIENCE, "it opens")
        self.assertIn("<script>document.title='owned'</script>", bodies[0])
        self.assertIn('"previous_data"', bodies[0])
        self.assertIn('"messageId": "ev_1"', bodies[1])
        for body in bodies:
            self.assertNotIn("not to be seen", body)  # remove
        self.assertEqual(1, len(browser.all("script")))
        self.assertEqual([], browser.all("img"))
        self.assertNotEqual("owned", browser.driver.title)

        self.site.make_dead("lead_bad")
        wait_until(lambda: browser.all("#letters tr[data-letter]"), PATIENCE, "the dead letter appears")
        wait_until(lambda: "1 dead letter is kept" in browser.text("#findings"), PATIENCE, "the top says so")
        self.assertEqual("It works; 1 thing to look at", browser.text("#state"))
        self.assertIn("this event is not taken", browser.text("#letters"))
        self.wait_row(browser, "lead_bad", "dead")
        self.assertEqual(1, len(browser.all("tr.opened")), "what was opened stays open")

        self.site.plane.refused_text = None
        wait_until(lambda: browser.click("#letters button"), PATIENCE, "it can be replayed")
        wait_until(lambda: "on its way again" in browser.text("main"), PATIENCE, "the page says what it did")
        self.wait_row(browser, "lead_bad", "delivered")
        wait_until(lambda: not browser.all("#letters tr[data-letter]"), PATIENCE, "the dead letter is gone")
        wait_until(lambda: browser.text("#state") == "All is well.", PATIENCE, "all is well")
        self.assertIn("ev_lead_bad", [message["messageId"] for message in self.site.plane.messages])
        self.assertEqual([], browser.errors())

    def test_state_in_words(self):
        browser = self.browser()
        self.site.plane.wrong_key = True
        self.site.send("ev_1")
        wait_until(lambda: "data plane refuses" in browser.text("#findings"), PATIENCE, "the refusal is told")
        self.assertEqual("1 thing is wrong", browser.text("#state"))
        wait_until(lambda: browser.all("#state.state.bad"), PATIENCE, "it is bad")
        browser.wait_text("[data-fact=waiting]", "1")
        self.wait_row(browser, "lead_1", "waiting")
        browser.shoot(f"{self.server}-refused", 1400)

    def test_key_on_demand(self):
        """Where the write key lets in; where only what Close has signed is taken, there is no button for it."""
        self.assertEqual(["Send test"], [button.text for button in self.browser().all(".url form button")])
        self.site.stop()
        self.site = Site(self.server, source="")
        browser = self.browser()
        self.assertNotIn(WRITE_KEY, browser.driver.page_source)
        self.assertEqual("Show with key", browser.text(".url form button"))
        browser.click(".url form button")
        wait_until(lambda: f"writeKey={WRITE_KEY}" in browser.text(".address"), PATIENCE, "the key is shown")
        time.sleep(1.5)  # the page was refreshed
        self.assertIn(f"writeKey={WRITE_KEY}", browser.text(".address"), "it stays")

    def test_without_scripts(self):
        self.site.send("ev_1", lead="lead_first", note=EVIL)
        wait_until(lambda: self.site.metric("closecrm_last_delivered_timestamp_seconds") > 0, PATIENCE, "it is delivered, and settled")
        browser = self.browser(scripts=False)
        self.assertEqual("reload for news", browser.text("#live"))
        self.assertEqual("1", browser.text("[data-fact=delivered]"))
        self.assertEqual(3, len([f for f in browser.all(".hour figure") if f.is_displayed()]))
        browser.shoot(f"{self.server}-without-scripts", 1400)
        self.open_row(browser, "lead_first", "delivered")
        bodies = wait_until(lambda: browser.texts("pre", 2), PATIENCE, "its page opens")
        self.assertIn("<script>document.title='owned'</script>", bodies[0])
        self.assertIn('"messageId": "ev_1"', bodies[1])
        self.assertNotIn("not to be seen", browser.text("main"))

    def test_looks(self):
        """For people's eyes. What can be judged without: nothing sticks out at a phone's width, dark is dark."""
        kinds = ["lead", "opportunity", "activity.email", "task.lead"]
        for i in range(24):
            self.site.send(f"ev_{i}", lead=f"lead_{i % 7}", kind=kinds[i % 4], action=["created", "updated"][i % 2])
        self.site.make_dead("lead_bad")
        for name, options in {"light": {}, "dark": {"dark": True}, "phone": {"width": 390}}.items():
            browser = self.browser(**options)
            wait_until(lambda: browser.all("#letters tr[data-letter]"), PATIENCE, "the dead letter appears")
            browser.shoot(f"{self.server}-{name}")
            inside = browser.driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
            self.assertTrue(inside, f"{name}: nothing sticks out")
            ground = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            self.assertEqual("rgb(18, 22, 28)" if name == "dark" else "rgb(246, 247, 249)", ground)

    def test_metrics(self):
        """Debian's promtool takes them."""
        self.site.send("ev_1")
        result = subprocess.run(["promtool", "check", "metrics"], input=self.site.metrics(), capture_output=True, check=False)
        self.assertEqual((0, b"", b""), (result.returncode, result.stdout, result.stderr))


class Lighttpd(StatusPage, unittest.TestCase):
    server = "lighttpd"


class Apache(StatusPage, unittest.TestCase):
    server = "apache"


class Rules(unittest.TestCase):
    def test_rules(self):
        rules = TREE / "packaging" / "prometheus-rules.yml"
        result = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
        self.assertEqual(0, result.returncode, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
