#!/usr/bin/python3
"""Drives the status page in headless Chromium, through lighttpd and through Apache, as its operator would; leaves
screenshots in build/browser for people to look at. `make test-browser` runs it."""
import base64
import shutil
import subprocess
import tempfile
import time
import unittest

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

import site_under_test
from site_under_test import PASSWORD, TREE, WRITE_KEY, Site

SHOTS = TREE / "build" / "browser"
CHROMIUM_ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def wait_until(condition, seconds, what):
    """The page changes while it is looked at: what is gone, or not there yet, is looked for again. The driver has many
    words for that; the last ones are told when the time is over."""
    last = None

    def tried():
        nonlocal last
        try:
            return condition()
        except WebDriverException as error:
            last = error
            return None

    try:
        return site_under_test.wait_until(tried, seconds, what)
    except AssertionError as late:
        raise late from last


class Browser:
    """A fresh Chromium of its own. width: of a phone, it also acts like one."""

    def __init__(self, scripts=True, dark=False, width=1280):
        self.profile = tempfile.mkdtemp(prefix="closecrm-chromium-")
        options = webdriver.ChromeOptions()
        for argument in [*CHROMIUM_ARGUMENTS, f"--user-data-dir={self.profile}", f"--window-size={width},1000"]:
            options.add_argument(argument)
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        scheme = "dark" if dark else "light"
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        if width < 600:
            self.command("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=True)
        self.width = width

    def command(self, name, **arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def log_in(self, site):
        secret = "admin:" + PASSWORD.replace(" ", "%20")
        self.driver.get(site.url.replace("://", f"://{secret}@") + "/status")
        self.driver.get(site.url + "/status")  # without the password in the address, as after a log-in by hand

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector).text

    def errors(self):
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]

    def shoot(self, name, height=2400):
        clip = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
        image = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        SHOTS.mkdir(parents=True, exist_ok=True)
        (SHOTS / f"{name}.png").write_bytes(base64.b64decode(image))

    def quit(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)


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
            if len(cells) > 5 and cells[2].text == lead and state in cells[5].text:
                return row
        return None

    def test_live(self):
        """An event appears, is opened, dies, is replayed, and is seen to be delivered."""
        browser = self.browser()
        wait_until(lambda: browser.text("#live") == "live", 10, "the page is live")
        self.assertEqual("All is well.", browser.text("#state"))
        self.assertIn("/closecrm/acme", browser.text(".address"))

        sent = time.monotonic()
        self.assertEqual(200, self.site.send("ev_1", lead="lead_first", note=EVIL))
        wait_until(lambda: self.row_of(browser, "lead_first", "delivered"), 10, "the event appears")
        self.assertLess(time.monotonic() - sent, 2, "seconds until it appeared")
        self.assertEqual("1", browser.text("[data-fact=delivered]"))

        self.row_of(browser, "lead_first", "delivered").find_element(By.TAG_NAME, "a").click()
        bodies = wait_until(lambda: browser.all("tr.opened pre"), 5, "it opens")
        self.assertIn("<script>document.title='owned'</script>", bodies[0].text)
        self.assertIn('"previous_data"', bodies[0].text)
        self.assertIn('"messageId": "ev_1"', bodies[1].text)
        for body in bodies:
            self.assertNotIn("not to be seen", body.text)  # remove
        self.assertEqual(1, len(browser.all("script")))
        self.assertEqual([], browser.all("img"))
        self.assertNotEqual("owned", browser.driver.title)

        self.site.plane.refused_text = "poisoned"
        self.site.send("ev_2", lead="lead_bad", note="poisoned")
        self.site.send("ev_3", lead="lead_good")
        wait_until(lambda: browser.all("#letters tr[data-letter]"), 20, "the dead letter appears")
        wait_until(lambda: "dead letter" in browser.text("#state"), 5, "the state says so")
        self.assertIn("this event is not taken", browser.text("#letters"))
        self.assertTrue(self.row_of(browser, "lead_bad", "dead"))
        self.assertEqual(1, len(browser.all("tr.opened")), "what was opened stays open")

        self.site.plane.refused_text = None
        browser.driver.find_element(By.CSS_SELECTOR, "#letters button").click()
        wait_until(lambda: "on its way again" in browser.text("main"), 5, "the page says what it did")
        wait_until(lambda: self.row_of(browser, "lead_bad", "delivered"), 10, "it is delivered")
        wait_until(lambda: not browser.all("#letters tr[data-letter]"), 5, "the dead letter is gone")
        wait_until(lambda: browser.text("#state") == "All is well.", 5, "all is well")
        self.assertIn("ev_2", [message["messageId"] for message in self.site.plane.messages])
        self.assertEqual([], browser.errors())

    def test_state_in_words(self):
        browser = self.browser()
        self.site.plane.wrong_key = True
        self.site.send("ev_1")
        wait_until(lambda: "data plane refuses" in browser.text("#state"), 10, "the refusal is told")
        self.assertEqual("state bad", browser.driver.find_element(By.ID, "state").get_attribute("class"))
        self.assertEqual("1", browser.text("[data-fact=waiting]"))
        self.assertTrue(self.row_of(browser, "lead_1", "waiting"))
        browser.shoot(f"{self.server}-refused", 1400)

    def test_key_on_demand(self):
        browser = self.browser()
        self.assertNotIn(WRITE_KEY, browser.driver.page_source)
        browser.driver.find_element(By.CSS_SELECTOR, ".url form button").click()
        wait_until(lambda: f"writeKey={WRITE_KEY}" in browser.text(".address"), 5, "the key is shown")

    def test_without_scripts(self):
        self.site.send("ev_1", lead="lead_first", note=EVIL)
        wait_until(lambda: self.site.plane.messages, 10, "it is delivered")
        time.sleep(0.3)  # and settled
        browser = self.browser(scripts=False)
        self.assertEqual("reload for news", browser.text("#live"))
        self.assertEqual("1", browser.text("[data-fact=delivered]"))
        self.assertEqual(3, len([f for f in browser.all(".hour figure") if f.is_displayed()]))
        browser.shoot(f"{self.server}-without-scripts", 1400)
        self.row_of(browser, "lead_first", "delivered").find_element(By.TAG_NAME, "a").click()
        wait_until(lambda: len(browser.all("pre")) == 2, 5, "its page opens")
        self.assertIn("<script>document.title='owned'</script>", browser.all("pre")[0].text)
        self.assertIn('"messageId": "ev_1"', browser.all("pre")[1].text)
        self.assertNotIn("not to be seen", browser.text("main"))

    def test_looks(self):
        """For people's eyes. What can be judged without: nothing sticks out at a phone's width, dark is dark."""
        kinds = ["lead", "opportunity", "activity.email", "task.lead"]
        for i in range(24):
            self.site.send(f"ev_{i}", lead=f"lead_{i % 7}", kind=kinds[i % 4], action=["created", "updated"][i % 2])
        self.site.plane.refused_text = "poisoned"
        self.site.send("ev_bad", note="poisoned")
        self.site.send("ev_good")
        for name, options in {"light": {}, "dark": {"dark": True}, "phone": {"width": 390}}.items():
            browser = self.browser(**options)
            wait_until(lambda: browser.all("#letters tr[data-letter]"), 20, "the dead letter appears")
            browser.shoot(f"{self.server}-{name}")
            inside = browser.driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
            self.assertTrue(inside, f"{name}: nothing sticks out")
            ground = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            self.assertEqual("rgb(18, 22, 28)" if name == "dark" else "rgb(246, 247, 249)", ground)

    def test_metrics(self):
        """Debian's promtool takes them."""
        self.site.send("ev_1")
        command = ["curl", "-s", "-u", f"admin:{PASSWORD}", self.site.url + "/metrics"]
        metrics = subprocess.run(command, capture_output=True, check=True).stdout
        result = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False)
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
