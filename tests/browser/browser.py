"""A Chromium that looks at the status page, for the browser test."""
import base64
import shutil
import tempfile

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

import site_under_test
from site_under_test import PASSWORD, PATIENCE, TREE

SHOTS = TREE / "build" / "browser"
CHROMIUM_ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


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


def still_there(act):
    """What act does with an element: again where the page has replaced it meanwhile."""
    for _ in range(20):
        try:
            return act()
        except StaleElementReferenceException:
            pass
    return act()


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
        self.wear("dark" if dark else "light", width)

    def wear(self, scheme, width):
        """A colour scheme and a width; that of a phone makes it act like one."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        if width < 600:
            self.command("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=True)
        else:
            self.command("Emulation.clearDeviceMetricsOverride")
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
        """The page may be refreshed between finding the element and reading it: then it is found again."""
        return still_there(lambda: self.driver.find_element(By.CSS_SELECTOR, selector).text)

    def texts(self, selector, count):
        """Those of so many elements, once they are there."""
        found = [element.text for element in self.all(selector)]
        return found if len(found) == count and all(found) else None

    def click(self, selector):
        still_there(lambda: self.driver.find_element(By.CSS_SELECTOR, selector).click())
        return True

    def wait_text(self, selector, wanted):
        wait_until(lambda: self.text(selector) == wanted, PATIENCE, f"{selector} says {wanted}")

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
