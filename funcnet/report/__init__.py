"""Reports: pure functions from the records of runs to figures, tables and pages, and the files they make."""

from funcnet.report.curves import loss_figure as loss_figure
from funcnet.report.files import summary as summary
from funcnet.report.files import write_report as write_report
from funcnet.report.pages import write_pdf as write_pdf
from funcnet.report.tables import Table as Table
from funcnet.report.tables import settings_table as settings_table
from funcnet.report.tables import summary_table as summary_table
from funcnet.report.tables import to_markdown as to_markdown
