"""Writes the documents beside it with other people's libraries; see requirements.txt."""

import datetime
import email.message
import email.policy
import io
import pathlib
import zipfile

import fpdf
import pyarrow
import pyarrow.parquet
import reportlab.lib.pagesizes
import reportlab.pdfgen.canvas

here = pathlib.Path(__file__).parent


def make_pdf():
    doc = fpdf.FPDF()
    doc.set_creation_date(datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))
    doc.set_author("Ada Example")
    doc.add_page()
    doc.set_font("helvetica", size=12)
    doc.multi_cell(0, 6, "Dear Jürgen,\nyour card 4111 1111 1111 1111 was charged.\nMail: ada@example.com")
    doc.add_page()
    doc.cell(0, 6, "IBAN GB82 WEST 1234 5698 7654 32", link="https://example.com/pay")
    doc.output(here / "fpdf2.pdf")

    c = reportlab.pdfgen.canvas.Canvas(str(here / "reportlab.pdf"), pagesize=reportlab.lib.pagesizes.A4, invariant=1)
    c.setAuthor("Ada Example")
    text = c.beginText(72, 720)
    text.textLine("Dear J\u00fcrgen, (brackets) and \\ backslash")
    text.textLine("SSN 514-69-0360")
    c.drawText(text)
    c.showPage()
    c.drawString(72, 720, "phone +44 20 7946 0958")
    c.save()


def make_parquet():
    table = pyarrow.table(
        {
            "id": pyarrow.array([1, 2, 3], pyarrow.int64()),
            "email": ["ada@example.com", None, "bob@example.org"],
            "tags": [["x"], [], ["call 541-714-1388", "y"]],
            "raw": pyarrow.array([b"\xff\x00", b"ok", None], pyarrow.binary()),
            "score": [0.5, 1.5, None],
        }
    )
    pyarrow.parquet.write_table(table, here / "pyarrow.parquet", compression="snappy")


def make_mail():
    inner = email.message.EmailMessage()
    inner["Subject"] = "Inside"
    inner["From"] = "Carol <carol@example.net>"
    inner.set_content("The PIN is with dave@example.net")
    m = email.message.EmailMessage()
    m["From"] = "Jürgen <juergen@example.com>"
    m["To"] = "Ada <ada@example.com>"
    m["Subject"] = "Größe und Konto"
    m["Message-ID"] = "<1234567890.abc@mail.example.com>"
    m.set_content("Call 541-714-1388, it is a long line " + "x" * 80 + " größer ada@example.org\n", cte="quoted-printable")
    m.add_alternative("<p>Card <b>4111</b> 1111 1111 1111</p><a href='mailto:eve@example.com'>mail</a>", subtype="html")
    m.add_attachment(b"name,ssn\nBob,514-69-0360\n", maintype="text", subtype="csv", filename="leute.csv")
    m.add_attachment(b"\x89PNG\r\n\x1a\n\x00\x00", maintype="image", subtype="png", filename="a.png")
    m.add_attachment(inner)
    m.set_boundary("outer")
    (here / "python.eml").write_bytes(m.as_bytes(policy=email.policy.SMTP))


def make_office():
    # What a word processor makes of a line that it has checked half of.
    xml = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
        "<w:p><w:r><w:t>Card 4111 1111 </w:t></w:r><w:r><w:t>1111 1111</w:t></w:r></w:p><w:p><w:r><w:t>ada@example.com</w:t></w:r></w:p></w:body></w:document>"
    )
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in (("[Content_Types].xml", '<?xml version="1.0"?><Types/>'), ("word/document.xml", xml), ("word/media/a.png", b"\x89PNG\x00\x00")):
            z.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    (here / "letter.docx").write_bytes(b.getvalue())


make_pdf()
make_parquet()
make_mail()
make_office()
