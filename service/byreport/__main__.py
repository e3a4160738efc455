"""`python -m byreport` is `byreport`."""

from byreport.cli import main

if __name__ == "__main__":
    main(prog_name="byreport")
